package chaos

import (
	"fmt"
	"regexp"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// terminateWhileHanging stops the agent while its first requests hang in a black hole. No request has failed yet, so
// the agent does not know that the receiver is down.
func terminateWhileHanging(w *world) {
	w.set(oracle.BlackHole())
	w.start()
	w.pause(pick(w.suite, 12*time.Second, 25*time.Second)) // less than remote_timeout, 30 s
	w.until("a request hangs", func() bool { return w.receiver.Hanging() > 0 })
	took := w.restart()
	v := w.verdict(allowance{repeats: inFlight})
	w.result(v, fmt.Sprintf("stopped in %.1f s", took.Seconds()))
}

// Two ways to change the protocol between two processes while a backlog waits.
var (
	learned = [2]string{}
	written = [2]string{"  protobuf_message: io.prometheus.write.v2.Request\n",
		"  protobuf_message: prometheus.WriteRequest\n"}
)

// otherProtocol builds a backlog for a 2.0 receiver. After the restart the receiver accepts only 1.0.
func otherProtocol(more [2]string) func(*world) {
	return func(w *world) {
		w.more = more[0]
		w.start()
		w.pause(warmUp)
		w.until("a 2.0 request was taken", func() bool { _, two := w.receiver.Messages(); return two > 0 })
		w.set(oracle.Refuse())
		outage := pick(w.suite, 8*time.Second, 30*time.Second)
		w.pause(outage)
		w.kill()
		_, before := w.receiver.Messages()
		w.more = more[1]
		w.start()
		w.set(oracle.Up().Only1())
		w.pause(3 * time.Second)
		w.until("a 1.0 request was taken", func() bool { one, _ := w.receiver.Messages(); return one > 0 })
		w.drain(30 * time.Second)
		one, two := w.receiver.Messages()
		if one == 0 || two != before {
			w.Errorf("after the restart, %d requests of 1.0 and %d of 2.0 were accepted", one, two-before)
		}
		v := w.verdict(allowance{repeats: inFlight})
		w.result(v, fmt.Sprintf("outage of %v, kill; then %d requests of 1.0", outage, one))
	}
}

// growingLanes uses a receiver so slow that the initial number of lanes cannot keep up.
func growingLanes(w *world) {
	answer := pick(w.suite, 500*time.Millisecond, 5*time.Second)
	w.interval = 2 * answer
	w.more = "  queue_config: {min_shards: 4, max_shards: 50, max_samples_per_send: 200}\n"
	// 1000 series per lane: five requests per interval, with time for two.
	w.fleet = parts.Fleet(w.T, w.addresses, 50, 40, series)
	w.set(oracle.Up().Slow(answer))
	w.start()
	w.pause(pick(w.suite, 30*time.Second, 4*time.Minute))
	w.until("the number of lanes grows", func() bool { return lanesGrew.MatchString(w.agent.Process.Log()) })
	w.pause(warmUp) // so that the new lanes get samples
	grown := ""
	for _, to := range lanesGrew.FindAllStringSubmatch(w.agent.Process.Log(), -1) {
		grown += ", " + to[1]
	}
	m := w.metrics()
	waiting := m.Sum("envoy_scraper_remotewrite_pending_samples")
	begin := time.Now()
	w.drain(patience)
	took := time.Since(begin)
	v := w.verdict(allowance{})
	w.result(v, fmt.Sprintf("answers after %v, scraped every %v; lanes: 4%s; %.0f samples waited, for %.0f s more",
		answer, w.interval, grown, waiting, took.Seconds()))
}

// lanesGrew matches the agent's log line about a changed number of lanes.
var lanesGrew = regexp.MustCompile(`remote write lanes.*\bto"?[:=] *(\d+)`)
