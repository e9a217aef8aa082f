import { startControl, startDaemon, removeFolder } from '/work/main/bench/support/server.ts'
import { withLoad } from '/work/main/bench/support/scenario.ts'
for (const s of [await startControl(), await startDaemon()]) for (let r=0;r<3;r++) {
 await withLoad(s, async (l)=>{ await l.open(10000,'bench:1'); await s.settle(); for (const w of [{rate:100},{flight:16,lowat:4096}]) {
 const m=await l.publish({channel:'bench:1',seconds:3,warmup:1,...w}); console.log(s.kind, JSON.stringify(w), (m.received/m.seconds/1e3).toFixed(0)+'k/s',(m.received/m.serverCpu/1e3).toFixed(0)+'k/cpu', 'busy',(m.serverCpu/m.seconds).toFixed(2),'load',(m.loadCpu/m.seconds).toFixed(2),'lag',m.lag,'reads/rcv',(m.received/m.reads).toFixed(1), m.expected-m.received)} }); await s.settle(); if(r==2) await s.stop() }
