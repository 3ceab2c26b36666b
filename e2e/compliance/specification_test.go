package compliance

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

const gauges = "# TYPE a gauge\na{z=\"1\",b=\"2\",A=\"ü\"} 1\na{z=\"2\",empty=\"\"} 2\n# TYPE b counter\nb 3\n"

// TestSpecification holds the program to the demands of the remote write specification that a receiver can see, each
// with requests seen. What is done otherwise on purpose is in docs/differences.md.
func TestSpecification(t *testing.T) {
	binary := agent.Build(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"headers and body", headersAndBody},
		{"reserved headers", reservedHeaders},
		{"the body of a success says nothing", bodyOfSuccess},
		{"success without Written headers is no success", notWritten},
		{"what was not written is counted", partlyWritten},
		{"4xx is never repeated", neverRepeated},
		{"415 is repeated otherwise", otherMessage},
		{"5xx and 429 are repeated, later and later", repeatedLater},
		{"histograms and floats apart", histogramsApart},
		{"one request a series at a time, in order", oneAtATime},
		{"staleness markers", stalenessMarkers},
		{"exemplars have a time", exemplarTimes},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, binary)
		})
	}
}

// bothMessages runs a check with each protocol.
func bothMessages(t *testing.T, check func(t *testing.T, message string)) {
	t.Helper()
	for _, message := range []string{message1, message2} {
		t.Run(message, func(t *testing.T) {
			t.Parallel()
			check(t, message)
		})
	}
}

func headersAndBody(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, fixed(text, gauges))
		w.start(binary, settings{protocol: message})
		requests := w.requests(3)
		want := map[string]string{"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
			"X-Prometheus-Remote-Write-Version": "0.1.0"}
		if message == message2 {
			want["Content-Type"] += ";proto=" + message2
			want["X-Prometheus-Remote-Write-Version"] = "2.0.0"
		}
		for _, r := range requests {
			if r.Problem != nil || r.Method != http.MethodPost { // the receiver's own decoding: snappy's block format
				t.Errorf("method %s, problem %v", r.Method, r.Problem)
			}
			for name, value := range want {
				if got := r.Header.Values(name); len(got) != 1 || got[0] != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
			if got := r.Header.Get("User-Agent"); !strings.HasPrefix(got, "envoy-scraper/") {
				t.Errorf("User-Agent is %q", got)
			}
			for _, problem := range wellFormed(r.Message) {
				t.Error(problem)
			}
		}
		checkArrived(t, w.receiver)
	})
}

// checkArrived looks for the series of the page with the labels that have a value.
func checkArrived(t *testing.T, r *oracle.Receiver) {
	t.Helper()
	for _, want := range []string{`A="ü",__name__="a",b="2"`, `__name__="a",instance=`, `__name__="b"`, `__name__="up"`} {
		if len(r.Ledger.Samples(func(l oracle.Labels) bool { return strings.HasPrefix(l.String(), want) })) == 0 {
			t.Errorf("no series with %s has arrived", want)
		}
	}
}

// wellFormed lists what a message must not be.
func wellFormed(m oracle.Message) (problems []string) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if m.V2 != nil {
		if len(m.V2.Symbols) == 0 || m.V2.Symbols[0] != "" {
			complain("the first symbol is not empty: %.3q", m.V2.Symbols)
		}
		if sorted := slices.Sorted(slices.Values(m.V2.Symbols)); len(slices.Compact(sorted)) != len(m.V2.Symbols) {
			complain("a symbol stands twice: %q", m.V2.Symbols)
		}
		for _, ts := range m.V2.Timeseries {
			if len(ts.Samples) > 0 == (len(ts.Histograms) > 0) {
				complain("a series with %d samples and %d histograms", len(ts.Samples), len(ts.Histograms))
			}
		}
	}
	if m.V1 != nil {
		for _, ts := range m.V1.Timeseries {
			if len(ts.Samples) > 0 == (len(ts.Histograms) > 0) {
				complain("a series with %d samples and %d histograms", len(ts.Samples), len(ts.Histograms))
			}
		}
	}
	samples, err := m.Samples()
	if err != nil {
		complain("%v", err)
	}
	once := map[string]bool{}
	for _, s := range samples {
		key := s.Labels.String()
		if once[key] {
			complain("two samples of %s in one request", key)
		}
		once[key] = true
		if s.Time == 0 {
			complain("%s has no timestamp", key)
		}
		problems = append(problems, labelProblems(s.Labels)...)
	}
	return problems
}

func labelProblems(labels oracle.Labels) (problems []string) {
	if labels.Get("__name__") == "" || labels.Get("job") != "spec" || labels.Get("instance") == "" {
		problems = append(problems, "incomplete: "+labels.String())
	}
	for i, l := range labels {
		if l.Name == "" || l.Value == "" || !utf8.ValidString(l.Name) || !utf8.ValidString(l.Value) {
			problems = append(problems, "an empty or invalid label: "+labels.String())
		}
		if i > 0 && l.Name <= labels[i-1].Name {
			problems = append(problems, "not sorted, or twice: "+labels.String())
		}
	}
	return problems
}

// reservedHeaders: a user cannot override what the protocol owns, and may add other headers.
func reservedHeaders(t *testing.T, binary string) {
	for _, name := range []string{"Content-Encoding", "content-type", "X-Prometheus-Remote-Write-Version", "User-Agent"} {
		file := filepath.Join(t.TempDir(), "c.yml")
		yaml := settings{remoteWrite: "  headers:\n    " + name + ": mine\n"}.yaml("127.0.0.1:1", "http://127.0.0.1:1/")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "check", file).CombinedOutput()
		if err == nil || !strings.Contains(strings.ToLower(string(out)), strings.ToLower(name)) {
			t.Errorf("%s: error %v, want one that names it:\n%s", name, err, out)
		}
	}
	w := newWorld(t, fixed(text, gauges))
	w.start(binary, settings{remoteWrite: "  headers:\n    X-Scope-OrgID: tenant\n"})
	for _, r := range w.requests(2) {
		if got := r.Header.Get("X-Scope-OrgID"); got != "tenant" {
			t.Errorf("X-Scope-OrgID is %q", got)
		}
	}
}

// bodyOfSuccess: the body of a 2xx is ignored, whatever it says.
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

// checkEachOnce checks that no sample stands in two of the requests that pass.
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
				w.Errorf("requests %d and %d (answers %d and %d) both hold %s", first, i, w.receiver.Requests()[first].Status, r.Status, key)
				return
			}
			seen[key] = i
		}
	}
}

// notWritten: a 2xx to 2.0 without the headers means that the receiver took the body for an empty 1.0 request: the same
// samples go again as 1.0.
func notWritten(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Silent())
	w.start(binary, settings{})
	requests := w.requests(4)
	checkFallsBack(t, requests)
}

// checkFallsBack checks that a 2.0 request is followed by the same samples as 1.0, and those by nothing but 1.0.
func checkFallsBack(t *testing.T, requests []oracle.Request) {
	t.Helper()
	first, second := requests[0].Message, requests[1].Message
	if first.V2 == nil || second.V1 == nil {
		t.Fatalf("the first request is 2.0: %v, the second 1.0: %v; want both", first.V2 != nil, second.V1 != nil)
	}
	a, err1 := first.Samples()
	b, err2 := second.Samples()
	if err1 != nil || err2 != nil || len(a) == 0 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("2.0 held %v (%v), 1.0 then %v (%v)", a, err1, b, err2)
	}
	for _, r := range requests[2:] {
		if r.Message.V1 == nil {
			t.Error("2.0 again, right after 1.0 was found to work")
		}
	}
}

func otherMessage(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Only1())
	w.start(binary, settings{})
	checkFallsBack(t, w.requests(4))
}

// partlyWritten: what a 2.0 receiver says it has not written did not arrive.
func partlyWritten(t *testing.T, binary string) {
	w := newWorld(t, fixed(text, gauges))
	w.answer(oracle.Up().Silent().With("X-Prometheus-Remote-Write-Samples-Written", "1"))
	w.start(binary, settings{protocol: message2})
	w.requests(3)
	w.answer(oracle.Up())
	w.scrapes(2)
	want := 0
	for _, r := range w.receiver.Requests() {
		samples, err := r.Message.Samples()
		if err != nil {
			t.Fatal(err)
		}
		want = max(want, len(samples)-1)
	}
	sum := 0.0
	for _, n := range w.dropped() {
		sum += n
	}
	if int(sum) < 3*want || want == 0 {
		t.Errorf("%v samples counted as dropped, want at least %d for each of three requests", w.dropped(), want)
	}
}

// neverRepeated: a request that was refused with 4xx does not come again as it was.
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
				split := status == http.StatusRequestEntityTooLarge || status == http.StatusBadRequest && message == message1
				if !split { // in parts, each sample may come again, but no request
					w.checkEachOnce(func(oracle.Request) bool { return true })
				}
				w.checkNoBodyTwice()
				if len(w.dropped()) == 0 {
					t.Error("nothing is counted as dropped")
				}
				w.until("the receiver's words in the log", func() bool { return strings.Contains(w.agent.Process.Log(), words) })
			})
		})
	}
}

// checkNoBodyTwice checks that no two requests hold the same samples.
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

// repeatedLater: 5xx and 429 come again, the same, at growing distances.
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
				t.Fatalf("the first request holds %d samples: %v", len(first), err)
			}
			for i, r := range requests[1:] {
				again, err := r.Message.Samples()
				if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
					t.Fatalf("try %d holds other samples: %v", i+2, err)
				}
				if got := r.Header.Get("Retry-Attempt"); got != fmt.Sprint(i+1) {
					t.Errorf("try %d has Retry-Attempt %q", i+2, got)
				}
			}
			// Each pause is at least half of 30 ms doubled so often.
			if took, least := requests[5].At.Sub(requests[0].At), 15*31*time.Millisecond; took < least {
				t.Errorf("six tries within %v: no backing off", took)
			}
			w.answer(oracle.Up())
			w.until("what was kept arrives", func() bool { return w.receiver.Answers()[http.StatusNoContent] > 0 })
		})
	}
}

// oneAtATime: no series is in flight in two requests, and its samples come in order, however slow the receiver.
func oneAtATime(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, func(number int) (string, string) {
			var page strings.Builder
			for i := range 200 {
				fmt.Fprintf(&page, "a{i=\"%d\"} %d\n", i, number)
				if i%10 == 0 { // these go by the hash of the series
					fmt.Fprintf(&page, "own{i=\"%d\"} %d %d\n", i, number, time.Now().UnixMilli())
				}
			}
			return text, page.String()
		})
		var overlap inFlight
		w.answer(oracle.Judged(overlap.judge))
		w.start(binary, settings{protocol: message, queue: "    max_samples_per_send: 50\n    min_shards: 8\n"})
		w.scrapes(4)
		w.requests(20)
		overlap.mu.Lock()
		defer overlap.mu.Unlock()
		if overlap.problem != "" || overlap.most < 2 {
			t.Errorf("%s; at most %d requests at once", overlap.problem, overlap.most)
		}
	})
}

// inFlight watches which series are in requests that have no answer yet.
type inFlight struct {
	mu      sync.Mutex // guards the following
	series  map[string]bool
	newest  map[string]int64
	running int
	most    int // requests at once
	problem string
}

func (f *inFlight) judge(_ oracle.Message, samples []oracle.Sample) int {
	f.enter(samples)
	timer := time.NewTimer(300 * time.Millisecond)
	defer timer.Stop()
	<-timer.C
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	for _, s := range samples {
		delete(f.series, s.Labels.String())
	}
	return http.StatusNoContent
}

func (f *inFlight) enter(samples []oracle.Sample) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.series == nil {
		f.series, f.newest = map[string]bool{}, map[string]int64{}
	}
	f.running++
	f.most = max(f.most, f.running)
	for _, s := range samples {
		key := s.Labels.String()
		if f.series[key] {
			f.problem = "in two requests at once: " + key
		}
		if s.Time <= f.newest[key] {
			f.problem = fmt.Sprintf("%s: %d after %d", key, s.Time, f.newest[key])
		}
		f.series[key], f.newest[key] = true, s.Time
	}
}

// stalenessMarkers: a series that leaves its page, a page that fails, and a target that leaves discovery.
func stalenessMarkers(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, fixed(text, gauges))
		file := filepath.Join(t.TempDir(), "targets.json")
		writeTargets := func(list string) {
			if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		writeTargets(fmt.Sprintf(`[{"targets": [%q]}]`, w.page.address))
		w.start(binary, settings{protocol: message,
			discovery: fmt.Sprintf("  file_sd_configs:\n  - files: [%q]\n    refresh_interval: 1s\n", file)})
		last := func(name string) func() bool {
			return func() bool { return w.endsStale(name) }
		}
		arrived := func() bool { return len(w.series("b")) > 0 && len(w.series("a")) == 2 }
		w.until("the page", arrived)
		w.page.change(fixed(text, strings.SplitAfter(gauges, "# TYPE b")[0][:strings.Index(gauges, "# TYPE b")]))
		w.until("a marker of the series that left", last("b"))
		if w.endsStale("a") {
			t.Error("a series that stayed was marked")
		}
		w.page.change(fixed("", ""))
		w.until("markers of a page that fails", last("a"))
		if w.endsStale("up") {
			t.Error("up was marked though the target is there")
		}
		writeTargets(`[]`)
		w.until("markers of a target that left", last("up"))
	})
}

func (w *world) series(name string) map[string]map[int64]float64 {
	return w.receiver.Ledger.Samples(func(l oracle.Labels) bool { return l.Get("__name__") == name })
}

// endsStale tells that the newest sample of each series of that name is a staleness marker, bit for bit.
func (w *world) endsStale(name string) bool {
	series := w.series(name)
	for _, samples := range series {
		var newest int64
		for at := range samples {
			newest = max(newest, at)
		}
		if math.Float64bits(samples[newest]) != value.StaleNaN {
			return false
		}
	}
	return len(series) > 0
}

// exemplarTimes: an exemplar has a value and a timestamp, also where the page gave it none.
func exemplarTimes(t *testing.T, binary string) {
	const openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	w := newWorld(t, func(number int) (string, string) {
		return openMetrics, fmt.Sprintf("# TYPE c counter\nc_total %d # {trace_id=\"t%d\"} 0.5\n"+
			"d_total %d # {trace_id=\"u%d\"} 0.25 %d\n# EOF\n", number, number, number, number, time.Now().Unix())
	})
	w.start(binary, settings{protocol: message2, remoteWrite: "  send_exemplars: true\n"})
	w.scrapes(4)
	seen := map[string]bool{}
	for _, r := range w.receiver.Requests() {
		for _, ts := range r.Message.V2.Timeseries {
			for _, e := range ts.Exemplars {
				if e.Timestamp == 0 || e.Value == 0 || len(e.LabelsRefs) != 2 {
					t.Errorf("exemplar %v", e)
				}
				seen[fmt.Sprint(e.Value)] = true
			}
		}
	}
	if !seen["0.5"] || !seen["0.25"] {
		t.Errorf("exemplars with the values %v were seen, want 0.5 and 0.25", seen)
	}
}

// histogramsApart: native histograms beside floats, each in series of their own.
func histogramsApart(t *testing.T, binary string) {
	bothMessages(t, func(t *testing.T, message string) {
		w := newWorld(t, nativeHistogram(t))
		w.start(binary, settings{protocol: message, remoteWrite: "  send_native_histograms: true\n",
			job: "  scrape_native_histograms: true\n  scrape_protocols: [PrometheusProto]\n"})
		histograms, floats := 0, 0
		count := func(h int, f int) {
			histograms += min(h, 1)
			floats += min(f, 1)
		}
		for _, r := range w.requests(4) {
			for _, problem := range wellFormed(r.Message) {
				t.Error(problem)
			}
			for _, ts := range timeseries1(r.Message.V1) {
				count(len(ts.Histograms), len(ts.Samples))
			}
			for _, ts := range timeseries2(r.Message.V2) {
				count(len(ts.Histograms), len(ts.Samples))
			}
		}
		if histograms == 0 || floats == 0 {
			t.Errorf("%d series with histograms, %d with floats: want both", histograms, floats)
		}
	})
}

func timeseries1(m *prompb.WriteRequest) []prompb.TimeSeries {
	if m == nil {
		return nil
	}
	return m.Timeseries
}

func timeseries2(m *writev2.Request) []writev2.TimeSeries {
	if m == nil {
		return nil
	}
	return m.Timeseries
}
