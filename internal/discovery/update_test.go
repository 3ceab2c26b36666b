package discovery

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
)

// scripted is a discoverer that sends the groups that a test sends to it.
type scripted chan []*targetgroup.Group

// Run implements promdiscovery.Discoverer.
func (s scripted) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	for {
		select {
		case <-ctx.Done():
			return
		case groups := <-s:
			select {
			case up <- groups:
			case <-ctx.Done():
				return
			}
		}
	}
}

// handed records the updates that a manager handed over: "a: whole one=10.0.0.1:1", "a: one=10.0.0.1:2 two=gone".
type handed []string

func (h *handed) note(updates map[string]Update) {
	for job, u := range updates {
		var words []string
		for _, g := range u.Groups {
			word := g.Source + "=gone"
			if len(g.Targets) > 0 {
				word = g.Source + "=" + string(g.Targets[0][model.AddressLabel])
			}
			words = append(words, word)
		}
		slices.Sort(words)
		if u.Whole {
			words = append([]string{"whole"}, words...)
		}
		*h = append(*h, job+": "+strings.Join(words, " "))
	}
	slices.Sort(*h)
}

// take returns the updates since the last call.
func (h *handed) take() string {
	defer func() { *h = nil }()
	return strings.Join(*h, "; ")
}

func listed(source string, addresses ...string) *targetgroup.Group {
	g := &targetgroup.Group{Source: source, Labels: model.LabelSet{"zone": "a"}}
	for _, a := range addresses {
		g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(a)})
	}
	return g
}

// withScript runs a manager with a fake clock. Job a, and job b if body adds it, share a discovery. body
// chooses the groups that the discovery sends: send <- groups.
func withScript(t *testing.T, body func(h *harness, send scripted, got *handed, jobs []*promconfig.ScrapeConfig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, zap.NewNop())
		const shared = "http_sd_configs: [{url: 'http://never.asked/'}]"
		jobs := []*promconfig.ScrapeConfig{parseJob(t, "a", shared), parseJob(t, "b", shared)}
		apply(t, h.Manager, jobs[0])
		send, got := make(scripted), new(handed)
		h.providers[0].inner = send
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx, got.note) }()
		body(h, send, got, jobs)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// wait waits until all changes have been handed over.
func wait() {
	<-time.After(3 * updateInterval)
	synctest.Wait()
}

// TestOnlyChangesAreHandedOver: a group that is found again unchanged is not handed over again.
func TestOnlyChangesAreHandedOver(t *testing.T) {
	withScript(t, func(h *harness, send scripted, got *handed, _ []*promconfig.ScrapeConfig) {
		wait()
		if updates, want := got.take(), "a: whole"; updates != want {
			t.Errorf("at first: %q, want %q", updates, want)
		}
		send <- []*targetgroup.Group{listed("one", "10.0.0.1:1"), listed("two", "10.0.0.2:1")}
		wait()
		if updates, want := got.take(), "a: one=10.0.0.1:1 two=10.0.0.2:1"; updates != want {
			t.Errorf("two groups: %q, want %q", updates, want)
		}
		for range 1000 {
			send <- []*targetgroup.Group{listed("one", "10.0.0.1:1"), nil, listed("two", "10.0.0.2:1"),
				listed("never there")}
			<-time.After(5 * time.Second)
		}
		if updates := got.take(); updates != "" {
			t.Errorf("unchanged groups: %q, want nothing", updates)
		}
		send <- []*targetgroup.Group{listed("one", "10.0.0.1:1"), listed("two", "10.0.0.2:2")}
		wait()
		if updates, want := got.take(), "a: two=10.0.0.2:2"; updates != want {
			t.Errorf("a change: %q, want %q", updates, want)
		}
		relabeled := listed("one", "10.0.0.1:1")
		relabeled.Labels["zone"] = "b"
		send <- []*targetgroup.Group{relabeled, listed("two")}
		wait()
		if updates, want := got.take(), "a: one=10.0.0.1:1 two=gone"; updates != want {
			t.Errorf("a changed label and a removed group: %q, want %q", updates, want)
		}
		if st := h.Status()[0]; st.Groups != 1 || st.Targets != 1 {
			t.Errorf("status = %+v, want one group with one target", st)
		}
	})
}

// TestANewJobGetsAllGroups: a new job shares a running discovery with another job. The new job gets all groups, the
// other job gets no update.
func TestANewJobGetsAllGroups(t *testing.T) {
	withScript(t, func(h *harness, send scripted, got *handed, jobs []*promconfig.ScrapeConfig) {
		send <- []*targetgroup.Group{listed("one", "10.0.0.1:1"), listed("two", "10.0.0.2:1")}
		wait()
		got.take()
		apply(t, h.Manager, jobs...)
		wait()
		if updates, want := got.take(), "b: whole one=10.0.0.1:1 two=10.0.0.2:1"; updates != want {
			t.Errorf("a new job: %q, want %q", updates, want)
		}
		send <- []*targetgroup.Group{listed("two", "10.0.0.2:2")}
		wait()
		if updates, want := got.take(), "a: two=10.0.0.2:2; b: two=10.0.0.2:2"; updates != want {
			t.Errorf("a change: %q, want %q", updates, want)
		}
		apply(t, h.Manager, jobs...)
		wait()
		if updates := got.take(); updates != "" {
			t.Errorf("a reload that changes nothing: %q, want nothing", updates)
		}
		apply(t, h.Manager, jobs[1], parseJob(t, "a", "static_configs: [{targets: ['10.0.0.9:1']}]"))
		wait()
		if updates := got.take(); !strings.Contains(updates, "a: whole") || strings.Contains(updates, "b:") {
			t.Errorf("new discoveries of a: %q, want all groups of a and no update of b", updates)
		}
	})
}

// TestPrometheusMetricsOfDiscovery: the metrics follow the updates, and are deleted with their job.
func TestPrometheusMetricsOfDiscovery(t *testing.T) {
	withScript(t, func(h *harness, send scripted, _ *handed, jobs []*promconfig.ScrapeConfig) {
		send <- []*targetgroup.Group{listed("one", "10.0.0.1:1", "10.0.0.1:2"), listed("two", "10.0.0.2:1")}
		wait()
		send <- []*targetgroup.Group{listed("two", "10.0.0.2:1")}
		wait()
		if n := testutil.ToFloat64(h.prom.DiscoveredTargets.WithLabelValues("a")); n != 3 {
			t.Errorf("prometheus_sd_discovered_targets = %v, want 3", n)
		}
		if received, sent := testutil.ToFloat64(h.prom.ReceivedUpdates), testutil.ToFloat64(
			h.prom.SentUpdates); received != 2 || sent < 1 || sent > 2 {
			t.Errorf("received %v updates, sent %v, want 2 and 1 or 2", received, sent)
		}
		apply(t, h.Manager, jobs[1])
		wait()
		names := []string{"prometheus_sd_discovered_targets", "prometheus_sd_last_update_timestamp_seconds"}
		if n, err := testutil.GatherAndCount(h.reg, names...); n != 2 || err != nil {
			t.Errorf("%d series of one job in %v, error %v, want 2", n, names, err)
		}
	})
}

// TestTheCostOfAnEventDoesNotDependOnTheNumberOfPods measures the memory that a change of one pod among many allocates.
func TestTheCostOfAnEventDoesNotDependOnTheNumberOfPods(t *testing.T) {
	const pods, events, limit = 20_000, 100, 16 << 10
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, parseJob(t, "a", "static_configs: [{targets: ['a:1']}]"))
	p := h.providers[0]
	for i := range pods {
		p.note([]*targetgroup.Group{listed(fmt.Sprint("pod", i), "10.0.0.1:1")}, time.Now())
	}
	if u := h.collect()["a"]; !u.Whole || len(u.Groups) != pods {
		t.Fatalf("the first update: whole %v, %d groups", u.Whole, len(u.Groups))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range events {
		p.note([]*targetgroup.Group{listed(fmt.Sprint("pod", i), "10.0.0.1:2")}, time.Now())
		if u := h.collect()["a"]; u.Whole || len(u.Groups) != 1 {
			t.Fatalf("an update: whole %v, %d groups, want the one that changed", u.Whole, len(u.Groups))
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / events; n > limit {
		t.Errorf("an event of one pod among %d allocates %d bytes, want at most %d", pods, n, limit)
	}
	if updates := h.collect(); len(updates) != 0 {
		t.Errorf("without an event: %v", updates)
	}
}

// TestBatchingWaitsLongerWhileChangesCome: the wait before an update grows while changes come, up to updateInterval.
func TestBatchingWaitsLongerWhileChangesCome(t *testing.T) {
	var b batching
	now := time.Unix(1_700_000_000, 0)
	var waits []time.Duration
	for range 8 {
		d := b.next(now)
		waits = append(waits, d)
		now = now.Add(d + 10*time.Millisecond)
	}
	if waits[0] != firstWait || waits[7] != updateInterval || !slices.IsSorted(waits) {
		t.Errorf("waits %v", waits)
	}
	if d := b.next(now.Add(time.Minute)); d != firstWait {
		t.Errorf("after a quiet minute: %v, want %v", d, firstWait)
	}
}
