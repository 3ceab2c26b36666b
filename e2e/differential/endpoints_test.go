package differential

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// endpoint is an entry of remote_write. Both agents write to every endpoint, with the same queue_config.
type endpoint struct {
	version int // of remote write: 1 or 2
	scrapes int // of a target in one request of envoy-scraper
}

// path returns the path of the endpoint's URL. Example: /v2/3 gets remote write 2.0 with three scrapes a request.
func (e endpoint) path() string { return fmt.Sprintf("/v%d/%d", e.version, e.scrapes) }

// endpointOf parses the path of an endpoint's URL.
func endpointOf(path string) (e endpoint, err error) {
	_, err = fmt.Sscanf(path, "/v%d/%d", &e.version, &e.scrapes)
	return e, err
}

// message returns the value of protobuf_message.
func (e endpoint) message() string {
	if e.version == 1 {
		return "prometheus.WriteRequest"
	}
	return "io.prometheus.write.v2.Request"
}

// delay returns the batch_send_deadline, into which that many scrapes fit.
func (e endpoint) delay() time.Duration {
	if e.scrapes == 1 {
		return interval / 4
	}
	return time.Duration(e.scrapes) * interval
}

// String names the endpoint in reports.
func (e endpoint) String() string {
	return fmt.Sprintf("%d.0, %d scrapes a request", e.version, e.scrapes)
}

// endpoints returns those that DIFFERENTIAL_SCRAPES asks for: each number of scrapes a request, in both versions.
func endpoints(t *testing.T) (all []endpoint) {
	t.Helper()
	list := os.Getenv("DIFFERENTIAL_SCRAPES")
	if list == "" {
		list = "1,3"
	}
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			t.Fatalf("DIFFERENTIAL_SCRAPES=%s: %q is no number of scrapes; write 1,3", list, text)
		}
		all = append(all, endpoint{1, n}, endpoint{2, n})
	}
	return all
}

// compareRequests checks that the requests of envoy-scraper are as their endpoints want them: a series is once in a
// request, with as many samples as scrapes fit into the delay, or more where a request had to wait.
func (w *world) compareRequests(t *testing.T) {
	w.recorder.mu.Lock()
	defer w.recorder.mu.Unlock()
	for _, e := range w.endpoints {
		from := source{ours, e}
		t.Logf("%v: %d requests from Prometheus, %d from envoy-scraper with at most %d samples of a series", e,
			w.recorder.posts[source{theirs, e}], w.recorder.posts[from], w.recorder.most[from])
		if most := w.recorder.most[from]; most < e.scrapes {
			t.Errorf("%v: a request had at most %d samples of a series", e, most)
		}
		if twice := w.recorder.repeated[from]; len(twice) > 0 {
			t.Errorf("%v: requests had series twice: %q", e, twice)
		}
	}
}

// compareOrder compares the order in which the values of each series arrived. Only values that both agents wrote count:
// compare reports the others. Exemplars are compared by themselves.
func (w *world) compareOrder(t *testing.T, e endpoint, name string, scrapes int, base time.Time) {
	t.Helper()
	a := w.recorder.order(source{theirs, e}, name, scrapes, base.UnixMilli())
	b := w.recorder.order(source{ours, e}, name, scrapes, base.UnixMilli())
	for series := range a {
		x, y := common(a[series], b[series]), common(b[series], a[series])
		if got, want := strings.Join(y, " "), strings.Join(x, " "); got != want {
			t.Errorf("%v %s: %s arrived in the order\n\t%s\n\tPrometheus: %s", e, name, series, got, want)
		}
	}
}

// order returns the moments of the values of each series of a case, in the order of arrival.
func (r *recorder) order(from source, name string, n int, base int64) map[string][]string {
	clock := clock{scrapes: r.times(from, clockOf(name)), base: base}
	r.mu.Lock()
	defer r.mu.Unlock()
	order := map[string][]string{}
	for series, items := range r.series[from] {
		if !ofCase(series, name) {
			continue
		}
		for _, w := range items {
			at, key := clock.name(w.time), series
			switch {
			case after(at, n):
				continue
			case w.isExemplar():
				key = "exemplars of " + series
			}
			order[key] = append(order[key], at)
		}
	}
	return order
}

// common returns the elements of a that are in b too, each once.
func common(a, b []string) (both []string) {
	left := map[string]bool{}
	for _, s := range b {
		left[s] = true
	}
	for _, s := range a {
		if left[s] {
			both = append(both, s)
			delete(left, s)
		}
	}
	return both
}
