package discovery

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
)

// TestABrokenWatchTriggersAProbe: when a watch breaks, the API server and the rights are probed at once, not at the
// next regular probe.
func TestABrokenWatchTriggersAProbe(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fakeAPI)
		want   State
	}{
		"away": {func(f *fakeAPI) { f.down = true }, StateUnreachable},
		"refused": {func(f *fakeAPI) {
			f.refuse["list pods"], f.refuse["watch pods"] = http.StatusForbidden, http.StatusForbidden
		}, StateDenied},
		"unknown": {func(f *fakeAPI) { f.accepted["another token"] = true }, StateDenied},
	} {
		t.Run(name, func(t *testing.T) {
			api := newFakeAPI(t)
			api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"))
			h := newHarness(t, zap.NewNop())
			h.pace.probe = time.Hour
			apply(t, h.Manager, api.podJob(t, "a"))
			h.start(t)
			eventually(t, "the first groups", h.isSynced)
			eventually(t, "a watch", func() bool { return api.count("watch pods") > 1 })
			api.set(c.change)
			api.CloseClientConnections()
			eventually(t, string(c.want), func() bool { return h.Status()[0].State == c.want })
			if h.found("a") != 1 {
				t.Error("the groups are gone")
			}
		})
	}
}

// TestNewWatchesAreRateLimited: if each watch fails at once because its resource version expired, client-go would start
// thousands per second.
func TestNewWatchesAreRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newWatchLimit(chance.Source{}.Rand())
		began := time.Now()
		for range watchBurst {
			if err := limit.pause(t.Context()); err != nil || time.Since(began) != 0 {
				t.Fatalf("the first watches wait: %v, %v", time.Since(began), err)
			}
		}
		const more = 20
		for range more {
			if err := limit.pause(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < (more-1)*time.Second || took > 2*more*time.Second {
			t.Errorf("%d more watches took %v, want one per second", more, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := limit.pause(ctx); err == nil {
			t.Error("pause does not return when its context ends")
		}
	})
}

// TestExpiredWatchesAreRetried: every watch fails because its resource version expired. Discovery retries at a limited
// rate.
func TestExpiredWatchesAreRetried(t *testing.T) {
	api := newFakeAPI(t)
	api.set(func(f *fakeAPI) { f.expired = true })
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "a"))
	h.start(t)
	eventually(t, "more watches than the burst",
		func() bool { return h.Status()[0].Watches > watchBurst+1 })
	if n := h.Status()[0].Watches; n > 3*watchBurst {
		t.Errorf("%d watches", n)
	}
	api.set(func(f *fakeAPI) { f.expired, f.pods = false, append(f.pods, sidecarPod("reviews", "10.0.0.1")) })
	eventually(t, "the pod", func() bool { return h.found("a") == 1 })
}
