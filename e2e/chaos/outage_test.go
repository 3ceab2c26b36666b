package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// memoryOnly is the control experiment. Without a durable queue, a kill must lose the samples of the outage; otherwise
// the oracle sees no losses.
func memoryOnly(w *world) {
	w.memory = true
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	w.pause(5 * time.Second)
	w.kill()
	w.start()
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(10 * time.Second)
	w.terminate()
	v := w.judge()
	w.Log(v)
	if v.Ended() < targets*3 {
		w.Errorf("a kill without a durable queue lost %d scrapes, want more: the oracle does not see losses", v.Ended())
	}
	w.result(v, "the control: no durable queue")
}

func outageThenKill(w *world) { killAfter(w, pick(w.suite, 8*time.Second, 30*time.Second)) }

func longOutageThenKill(w *world) { killAfter(w, pick(w.suite, 15*time.Second, 10*time.Minute)) }

// killAfter kills the agent at the end of an outage, restarts it and expects every sample.
func killAfter(w *world, outage time.Duration) {
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	before := w.resident()
	w.pause(outage)
	after := w.resident()
	w.kill()
	w.start()
	w.pause(time.Second)
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(30*time.Second + outage/4)
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, fmt.Sprintf("outage of %v; resident memory %.0f MB before it, %.0f MB at its end", outage, before,
		after))
}

// resident returns the agent's resident memory in MB.
func (w *world) resident() float64 {
	w.Helper()
	m := w.metrics()
	return m.Sum("process_resident_memory_bytes") / 1e6
}

// outageThenTerminate stops the agent with SIGTERM during an outage.
func outageThenTerminate(w *world) {
	outage := pick(w.suite, 8*time.Second, 30*time.Second)
	w.start()
	w.warm()
	w.set(oracle.Refuse())
	w.pause(outage)
	took := w.restart()
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, fmt.Sprintf("outage of %v; stopped in %.1f s", outage, took.Seconds()))
}

// restart stops the agent with SIGTERM during an outage, starts the next process, ends the outage and waits until the
// queue is delivered. It returns how long the stop took.
func (w *world) restart() (took time.Duration) {
	w.Helper()
	begin := time.Now()
	w.terminate()
	took = time.Since(begin)
	w.start()
	w.pause(time.Second)
	w.set(oracle.Up())
	w.pause(3 * time.Second)
	w.drain(30 * time.Second)
	return took
}

// terminateWhileUp stops and restarts the agent while the receiver accepts every request.
func terminateWhileUp(w *world) {
	w.start()
	for range pick(w.suite, 3, 10) {
		w.warm()
		w.terminate()
		w.start()
	}
	w.pause(3 * time.Second)
	w.drain(20 * time.Second)
	may := allowance{}
	if w.cut { // the flush deadline ended the stop
		may.repeats = inFlight
	}
	v := w.verdict(may)
	w.result(v, fmt.Sprintf("%d stops", len(w.ends)))
}

// kills kills the agent at random moments while it delivers.
func kills(w *world) {
	n := pick(w.suite, 10, 100)
	// The receiver is slow, so that some kills fall between the arrival of a request and its answer. Those requests are
	// sent twice.
	w.set(oracle.Up().Slow(150 * time.Millisecond))
	w.start()
	w.warm()
	for range n {
		w.pause(time.Second/2 + rand.N(2*time.Second))
		w.kill()
		w.start()
	}
	w.pause(3 * time.Second)
	w.drain(20 * time.Second)
	before := w.judge()
	v := w.verdict(allowance{perKill: 0.2, repeats: inFlight})
	w.result(v, fmt.Sprintf("%d kills: %.3f scrapes lost per target and kill, %.2f requests sent twice per "+
		"lane and kill",
		n, before.PerKill(n), float64(before.Repeats)/float64(n*lanes)))
}
