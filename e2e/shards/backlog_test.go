package shards

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// TestABacklogAtTheOldOwner moves half of the targets of instance 0 to instance 1 while instance 0 cannot reach
// Prometheus, which has no out_of_order_time_window. Instance 0's backlog of those targets arrives after newer samples
// and is refused. The refused samples must be counted, and no other sample may be lost.
func TestABacklogAtTheOldOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gate := newGate(t, w.real.WriteURL())
	w.paths = map[int]string{0: gate.url}
	w.shards = "{count: 1}"
	w.start(0)
	w.until(time.Now().Add(3 * interval))

	at := soon()
	w.writeShards(fmt.Sprintf("{count: 1}, {count: 2, from: %s}", at.Format(time.RFC3339)))
	w.start(1)
	gate.closed.Store(true)
	w.until(at.Add(4 * interval))
	gate.closed.Store(false)
	w.until(time.Now().Add(4 * interval))
	w.stop(1)
	w.drained(0)
	w.stop(0)

	var stay, move tally
	for _, target := range w.fleet.Targets {
		served := target.Served()
		stored, err := w.real.Query(t.Context(), fmt.Sprintf("sum(count_over_time(%s{instance=%q}[10m]))",
			oracle.Metric, target.Address))
		if err != nil || len(stored) != 1 {
			t.Fatalf("%v: %v", stored, err)
		}
		of := &stay
		if served[len(served)-1].By == "1" {
			of = &move
		}
		of.targets++
		of.served += len(served) * series
		of.stored += int(stored[0].Value)
	}
	counted := 0.0
	for _, n := range w.dropped {
		counted += n
	}
	t.Logf("targets that stay: %+v; targets that move: %+v; counted as dropped: %v", stay, move, w.dropped)
	if stay.targets == 0 || move.targets == 0 || w.dropped["out_of_order"]+w.dropped["isolation_budget"] == 0 {
		t.Error("no target stays or no target moves: the test tested nothing")
	}
	// A search that has used up its budget drops what is left of its request, also samples of targets that stay. The
	// budget is time, so a slow receiver makes that more: 1 to 5 % were seen.
	if share := float64(stay.stored) / float64(stay.served); share < 0.9 {
		t.Errorf("a share of %.2f of the samples of targets that stay arrived, want nearly all", share)
	}
	if since := move.served - move.stored; since > move.served/2 {
		t.Errorf("%d of %d samples of targets that move are missing: more than the backlog", since, move.served)
	}
	// The counters include the report series, and some served samples may have been in flight at the end.
	if missing := stay.served + move.served - stay.stored - move.stored; float64(missing) > counted+targets*series {
		t.Errorf("%d samples are missing, %v were counted", missing, counted)
	}
}

// tally counts served samples, and how many of them Prometheus has.
type tally struct{ targets, served, stored int }

// gate forwards requests to a receiver, or answers 503.
type gate struct {
	url    string
	closed atomic.Bool
}

func newGate(t *testing.T, to string) *gate {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: u.Scheme, Host: u.Host})
	g := &gate{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		if g.closed.Load() {
			http.Error(rw, "not now", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(rw, req)
	}))
	t.Cleanup(server.Close)
	g.url = server.URL + u.Path
	return g
}
