package compliance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// bodyOfSuccess checks that the body of a 2xx answer is ignored.
func bodyOfSuccess(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Status(http.StatusOK, "error: out of order sample"))
	w.start(binary, settings{protocol: message2})
	w.requests(4)
	for reason, n := range w.dropped() {
		t.Errorf("%v samples dropped: %s", n, reason)
	}
	w.checkEachOnce(func(oracle.Request) bool { return true })
}

// checkEachOnce checks that no sample is in two of the requests for which pass is true.
func (w *world) checkEachOnce(pass func(oracle.Request) bool) {
	w.Helper()
	seen := map[string]int{}
	for i, r := range w.receiver.Requests() {
		if !pass(r) {
			continue
		}
		samples, err := r.Message.Samples()
		if err != nil {
			w.Fatal(err)
		}
		for _, s := range samples {
			key := fmt.Sprint(s.Labels, s.Time)
			if first, twice := seen[key]; twice {
				w.Errorf("requests %d and %d (answers %d and %d) both contain %s", first, i,
					w.receiver.Requests()[first].Status, r.Status, key)
				return
			}
			seen[key] = i
		}
	}
}

// notWritten checks the answer 2xx without the Written headers to a 2.0 request. It means that the receiver read the
// body as an empty 1.0 request, so the same samples must be sent again as 1.0.
func notWritten(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Silent())
	w.start(binary, settings{})
	requests := w.requests(4)
	checkFallsBack(t, requests)
}

// checkFallsBack checks that the first request is 2.0, the second holds the same samples as 1.0, and all later requests
// are 1.0.
func checkFallsBack(t *testing.T, requests []oracle.Request) {
	t.Helper()
	first, second := requests[0].Message, requests[1].Message
	if first.V2 == nil || second.V1 == nil {
		t.Fatalf("the first request is 2.0: %v, the second 1.0: %v; want both", first.V2 != nil, second.V1 != nil)
	}
	a, err1 := first.Samples()
	b, err2 := second.Samples()
	if err1 != nil || err2 != nil || len(a) == 0 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("the 2.0 request had the samples %v (%v), the 1.0 request %v (%v)", a, err1, b, err2)
	}
	for _, r := range requests[2:] {
		if r.Message.V1 == nil {
			t.Error("a 2.0 request followed, although 1.0 had worked")
		}
	}
}

func otherMessage(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Only1())
	w.start(binary, settings{})
	checkFallsBack(t, w.requests(4))
}

// partlyWritten checks that samples count as dropped if a 2.0 receiver reports that it has not written them.
func partlyWritten(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Silent().With("X-Prometheus-Remote-Write-Samples-Written", "1"))
	w.start(binary, settings{protocol: message2})
	requests := w.requests(3)
	w.answer(oracle.Up())
	want := 0
	for _, r := range requests {
		samples, err := r.Message.Samples()
		if err != nil {
			t.Fatal(err)
		}
		want += len(samples) - 1
	}
	if want == 0 {
		t.Fatal("three requests of one sample each")
	}
	w.until(fmt.Sprintf("%d samples of three requests are counted as dropped", want), func() bool {
		sum := 0.0
		for _, n := range w.dropped() {
			sum += n
		}
		return int(sum) >= want
	})
}

// neverRepeated checks that a request that was refused with 4xx is not sent again unchanged.
func neverRepeated(t *testing.T, binary string) {
	for _, status := range []int{400, 404, 406, 409, 410, 413, 422, 451} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			bothMessages(t, func(t *testing.T, message string) {
				const words = "nothing of this kind, please"
				w := newWorld(t, fixed(text, gauges))
				w.answer(oracle.Status(status, words))
				w.start(binary, settings{protocol: message})
				w.requests(2)
				w.scrapes(3)
				split := status == http.StatusRequestEntityTooLarge || status == http.StatusBadRequest &&
					message == message1
				if !split { // a split request may repeat samples, but no request may repeat
					w.checkEachOnce(func(oracle.Request) bool { return true })
				}
				w.checkNoBodyTwice()
				if len(w.dropped()) == 0 {
					t.Error("no samples are counted as dropped")
				}
				w.until("the log has the receiver's message",
					func() bool { return strings.Contains(w.agent.Process.Log(), words) })
			})
		})
	}
}

// checkNoBodyTwice checks that no two requests have the same samples.
func (w *world) checkNoBodyTwice() {
	w.Helper()
	seen := map[string]bool{}
	for _, r := range w.receiver.Requests() {
		samples, err := r.Message.Samples()
		if err != nil {
			w.Fatal(err)
		}
		key := fmt.Sprint(samples)
		if seen[key] {
			w.Errorf("the same %d samples were sent again after %d", len(samples), r.Status)
			return
		}
		seen[key] = true
	}
}

// repeatedLater checks that requests answered with 5xx or 429 are sent again unchanged, with growing pauses.
func repeatedLater(t *testing.T, binary string) {
	for _, status := range []int{500, 501, 503, 429} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fixed(text, gauges))
			w.answer(oracle.Status(status, "later"))
			w.start(binary, settings{protocol: message2, queue: "    max_shards: 1\n"})
			requests := w.requests(6)
			first, err := requests[0].Message.Samples()
			if err != nil || len(first) == 0 {
				t.Fatalf("the first request has %d samples: %v", len(first), err)
			}
			for i, r := range requests[1:] {
				again, err := r.Message.Samples()
				if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
					t.Fatalf("attempt %d has other samples: %v", i+2, err)
				}
				if got := r.Header.Get("Retry-Attempt"); got != fmt.Sprint(i+1) {
					t.Errorf("attempt %d has Retry-Attempt %q", i+2, got)
				}
			}
			// The n-th pause is at least half of 30 ms x 2^n.
			if took, least := requests[5].At.Sub(requests[0].At), 15*31*time.Millisecond; took < least {
				t.Errorf("six attempts within %v, so there was no backoff", took)
			}
			w.answer(oracle.Up())
			w.until("the retried samples arrive", func() bool { return w.receiver.Answers()[http.StatusNoContent] > 0 })
		})
	}
}
