package compliance

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const gauges = "# TYPE a gauge\na{z=\"1\",b=\"2\",A=\"ü\"} 1\na{z=\"2\",empty=\"\"} 2\n# TYPE b counter\nb 3\n"

// TestSpecification checks each requirement of the remote write specification that a receiver can observe. Deliberate
// differences are in docs/differences.md.
func TestSpecification(t *testing.T) {
	binary := parts.Scraper(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, string)
	}{
		{"headers and body", headersAndBody},
		{"reserved headers", reservedHeaders},
		{"the body of a 2xx answer is ignored", bodyOfSuccess},
		{"2xx to 2.0 without Written headers falls back to 1.0", notWritten},
		{"samples not written are counted", partlyWritten},
		{"4xx is not retried", neverRepeated},
		{"415 falls back to the other message", otherMessage},
		{"5xx and 429 are retried with backoff", repeatedLater},
		{"histograms and floats in separate series", histogramsApart},
		{"one request per series at a time, in order", oneAtATime},
		{"staleness markers", stalenessMarkers},
		{"exemplars have a timestamp", exemplarTimes},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, binary)
		})
	}
}

// bothMessages runs a check with remote write 1.0 and with 2.0.
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
			if r.Problem != nil || r.Method != http.MethodPost { // the receiver has decoded the body as a snappy block
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

// checkArrived checks that the series of the page arrived, without labels whose value is empty.
func checkArrived(t *testing.T, r *oracle.Receiver) {
	t.Helper()
	for _, want := range []string{`A="ü",__name__="a",b="2"`, `__name__="a",instance=`, `__name__="b"`,
		`__name__="up"`} {
		if len(r.Ledger.Samples(func(l oracle.Labels) bool { return strings.HasPrefix(l.String(), want) })) == 0 {
			t.Errorf("no series with %s has arrived", want)
		}
	}
}

// wellFormed returns what is wrong with a message.
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
	times := map[string][]int64{}
	for _, s := range samples {
		key := s.Labels.String()
		before := times[key]
		if n := len(before); n >= scrapesPerRequest() || n > 0 && before[n-1] >= s.Time {
			complain("another sample of %s in one request, with the time %d after %d", key, s.Time, before)
		}
		times[key] = append(before, s.Time)
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

// reservedHeaders checks that the configuration cannot override headers of the protocol and can add others.
func reservedHeaders(t *testing.T, binary string) {
	for _, name := range []string{"Content-Encoding", "content-type", "X-Prometheus-Remote-Write-Version",
		"User-Agent"} {
		file := filepath.Join(t.TempDir(), "c.yml")
		yaml := settings{remoteWrite: "  headers:\n    " + name + ": mine\n"}.yaml("127.0.0.1:1", "http://127.0.0.1:1/")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), binary, "check", file).CombinedOutput()
		if err == nil || !strings.Contains(strings.ToLower(string(out)), strings.ToLower(name)) {
			t.Errorf("%s: error %v, want an error that names the header:\n%s", name, err, out)
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
