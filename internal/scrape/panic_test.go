package scrape

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// faultyLibrary serves pages. While broken, it panics for the target a:1.
type faultyLibrary struct {
	*pages
	broken atomic.Bool
	inBody bool // it panics in the middle of the body, not before the response
}

func (f *faultyLibrary) RoundTrip(req *http.Request) (*http.Response, error) {
	breaks := f.broken.Load() && req.URL.Host == "a:1"
	if breaks && !f.inBody {
		panic("faulty library")
	}
	resp, err := f.pages.RoundTrip(req)
	if breaks {
		body, _ := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), faultyReader{}))
	}
	return resp, err
}

type faultyReader struct{}

func (faultyReader) Read([]byte) (int, error) { panic("faulty library") }

// TestAPanicFailsOneScrape: a panic in a library fails the scrape, not the process. Other targets are scraped, the
// target's series are marked stale, the log has the stack once, and the target is up again when the library works
// again.
func TestAPanicFailsOneScrape(t *testing.T) {
	for name, inBody := range map[string]bool{"before the response": false,
		"in the middle of a page with new lines": true} {
		t.Run(name, func(t *testing.T) {
			during(t, func(t *testing.T, r *rig) {
				core, logged := observer.New(zap.ErrorLevel)
				r.env.log = zap.New(core)
				library := &faultyLibrary{pages: r.pages, inBody: inBody}
				r.opts.transport = library
				r.pages.set("a:1", "x 1\ny 1\n")
				r.pages.set("b:1", "x 1\n")
				r.apply(t, job(t, ""))
				r.discover(at("a:1"), at("b:1"))
				pass(20 * time.Second)

				library.broken.Store(true)
				r.pages.set("a:1", "x 2\nnew 2\n")
				pass(30 * time.Second)
				x := r.sink.of(named("x"))
				if last := x[len(x)-1]; len(x) != 3 || last.value != "stale" {
					t.Errorf("x is %v, want two samples and a marker", x)
				}
				if up := r.sink.of(named("up")); len(up) != 5 || up[4].value != "0" {
					t.Errorf("up is %v, want 1 twice and 0 three times", up)
				}
				if other := r.sink.of(strings.Replace(named("up"), "a:1", "b:1", 1)); len(other) != 5 ||
					other[4].value != "1" {
					t.Errorf("up of the other target is %v, want 1 five times", other)
				}
				if n := testutil.ToFloat64(r.env.metrics.failures.WithLabelValues("envoy", "panic")); n != 3 {
					t.Errorf("%v scrapes counted with reason panic, want 3", n)
				}
				entries := logged.All()
				if len(entries) != 1 || !strings.Contains(entries[0].ContextMap()["stack"].(string), "panic_test.go") {
					t.Errorf("logged %v, want one entry with the stack", entries)
				}
				if s := r.Status()[0].Targets[0]; !strings.Contains(s.Err, "faulty library") {
					t.Errorf("the target's error is %q", s.Err)
				}

				library.broken.Store(false)
				pass(10 * time.Second)
				if x := r.sink.of(named("x")); x[len(x)-1].value != "2" {
					t.Errorf("x is %v, want 2 at the end", x)
				}
				r.discover()
				pass(time.Minute)
				if n, m := r.table.Len(), r.table.SymbolCount(); n != 0 || m != 0 {
					t.Errorf("%d series and %d symbols left in the table", n, m)
				}
			})
		})
	}
}

// faultyHeader serves compressed pages. Reading their first bytes panics.
type faultyHeader struct{ *pages }

func (f faultyHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.pages.RoundTrip(req)
	resp.Header.Set("Content-Encoding", "gzip")
	resp.Body = io.NopCloser(faultyReader{})
	return resp, err
}

// TestAPanicReleasesThePageMemory: a panic before the first line of a page must end the lease of memory. Otherwise such
// targets would use up the memory for all others.
func TestAPanicReleasesThePageMemory(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.opts.transport = faultyHeader{r.pages}
		r.pages.set("a:1", "x 1\n")
		r.apply(t, job(t, ""))
		r.discover(at("a:1"))
		pass(time.Minute)
		if n := testutil.ToFloat64(r.env.metrics.failures.WithLabelValues("envoy", "panic")); n == 0 {
			t.Fatal("the test is wrong: no scrape failed by a panic")
		}
		if held, _ := r.opts.budget.memory.slots.counts(); held != 0 {
			t.Errorf("%d leases of memory while no page is read", held)
		}
	})
}
