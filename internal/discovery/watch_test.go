package discovery

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestABrokenWatchIsLookedInto: what became of the API server, or of a right, is known before the next question is due.
func TestABrokenWatchIsLookedInto(t *testing.T) {
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
			eventually(t, "the first picture", h.isSynced)
			eventually(t, "a watch", func() bool { return api.count("watch pods") > 1 })
			api.set(c.change)
			api.CloseClientConnections()
			eventually(t, string(c.want), func() bool { return h.Status()[0].State == c.want })
			if h.found("a") != 1 {
				t.Error("what was found is gone")
			}
		})
	}
}

// TestWatchesAreBegunSlowly: where each is told at once that its version expired, client-go begins thousands a second.
func TestWatchesAreBegunSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newWatchLimit()
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
			t.Errorf("%d watches more took %v, want one a second", more, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := limit.pause(ctx); err == nil {
			t.Error("a discovery that ends waits on")
		}
	})
}

// TestExpiredWatches: an API server that knows no version that we have is asked again and again, and said to be there.
func TestExpiredWatches(t *testing.T) {
	api := newFakeAPI(t)
	api.set(func(f *fakeAPI) { f.expired = true })
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "a"))
	h.start(t)
	eventually(t, "more watches than may follow each other at once",
		func() bool { return h.Status()[0].Watches > watchBurst+1 })
	if n := h.Status()[0].Watches; n > 3*watchBurst {
		t.Errorf("%d watches at once", n)
	}
	api.set(func(f *fakeAPI) { f.expired, f.pods = false, append(f.pods, sidecarPod("reviews", "10.0.0.1")) })
	eventually(t, "the pod", func() bool { return h.found("a") == 1 })
}
