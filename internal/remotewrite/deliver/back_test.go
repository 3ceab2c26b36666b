package deliver

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestAllLanesGoOnWhenTheReceiverIsBack: the pauses of four lanes end at different times. The first lane that gets
// through ends the pauses of the others.
func TestAllLanesGoOnWhenTheReceiverIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		const outage = 61 * time.Second
		r := newTestReceiver(func(context.Context, []byte, wire.Protocol, int) Answer {
			if time.Since(began) < outage {
				return answerOf(http.StatusServiceUnavailable)
			}
			return answerOf(http.StatusNoContent)
		}, wire.V1)
		m := messageWith(t, []labels.Labels{labels.FromStrings("__name__", "up")})
		var lanes sync.WaitGroup
		var settledAt [4]time.Duration
		for lane := range settledAt {
			lanes.Go(func() {
				time.Sleep(time.Duration(lane) * 1300 * time.Millisecond)
				s := requester{receiver: r, random: anyRandom(), report: func(Fate) {}}
				if v := s.send(t.Context(), m, 0); !v.arrived {
					t.Errorf("lane %d: %+v", lane, v)
				}
				settledAt[lane] = time.Since(began)
			})
		}
		lanes.Wait()
		for lane, at := range settledAt {
			if at < outage || at != settledAt[0] {
				t.Errorf("lane %d: arrived after %v, want the same as all lanes: %v", lane, at, settledAt)
			}
		}
	})
}

// TestSuccessOfOthersDoesNotShortenPauses: a receiver that answers 503 to some requests gets these again after the
// usual pauses, although other requests succeed all the time.
func TestSuccessOfOthersDoesNotShortenPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		r := newTestReceiver(func(_ context.Context, _ []byte, _ wire.Protocol, attempt int) Answer {
			if attempt > 0 || refused == 0 {
				refused++
				return answerOf(http.StatusServiceUnavailable)
			}
			return answerOf(http.StatusNoContent)
		}, wire.V1)
		m := messageWith(t, []labels.Labels{labels.FromStrings("__name__", "up")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := requester{receiver: r, random: anyRandom(), report: func(Fate) {}}
		var lane sync.WaitGroup
		lane.Go(func() { s.send(ctx, m, 0) })
		synctest.Wait()
		for ctx.Err() == nil {
			if v := s.send(ctx, m, 0); !v.arrived {
				t.Errorf("%+v", v)
			}
			time.Sleep(10 * time.Millisecond)
		}
		lane.Wait()
		if refused > 25 { // pauses double from 30 ms to 5 s, plus or minus jitter
			t.Errorf("%d tries in a minute", refused)
		}
	})
}
