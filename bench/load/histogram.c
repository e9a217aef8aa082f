#include "load.h"

#include <string.h>

#define SUB_BITS 7

static uint32_t cell_of(uint64_t value) {
  if (value < 1u << (SUB_BITS + 1)) return (uint32_t)value;
  int shift = 63 - __builtin_clzll(value) - SUB_BITS;
  return (uint32_t)(((uint64_t)shift << SUB_BITS) + (value >> shift));
}

static uint64_t value_of(uint32_t cell) {
  if (cell < 1u << (SUB_BITS + 1)) return cell;
  int shift = (int)(cell >> SUB_BITS) - 1;
  return ((uint64_t)(cell - ((uint32_t)shift << SUB_BITS)) << shift) + (1ull << shift) / 2;
}

void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

void histogram_add(struct histogram *h, uint64_t value) {
  h->cells[cell_of(value)]++;
  h->count++;
  if (value > h->max) h->max = value;
}

uint64_t histogram_at(const struct histogram *h, double quantile) {
  uint64_t wanted = (uint64_t)((double)h->count * quantile), seen = 0;
  for (uint32_t cell = 0; cell < HISTOGRAM_CELLS; cell++) {
    seen += h->cells[cell];
    if (seen > wanted) return value_of(cell) < h->max ? value_of(cell) : h->max;
  }
  return h->max;
}
