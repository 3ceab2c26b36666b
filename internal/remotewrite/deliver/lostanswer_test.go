package deliver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestLostAnswers: a receiver that stored a request whose answer was lost refuses samples of the next try as late. They
// are no loss. If nothing of the first try can have arrived, or the words are others, they are.
func TestLostAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		first     Answer
		words     string // of the second answer, a 400
		delivered bool
	}{
		"cut":              {Answer{Err: errors.New("EOF")}, "out of order sample", true},
		"proxy fails":      {answerOf(http.StatusGatewayTimeout), "out of order sample", true},
		"not connected":    {Answer{Err: errors.New("refused"), Unsent: true}, "out of order sample", false},
		"too many":         {answerOf(http.StatusTooManyRequests), "out of order sample", false},
		"cut, other words": {Answer{Err: errors.New("EOF")}, "tenant is unknown", false},
	} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprint(name, ", ", p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					posts := 0
					r := newTestReceiver(func(context.Context, []byte, wire.Protocol, int) Answer {
						if posts++; posts == 1 {
							return tc.first
						}
						a := answerOf(http.StatusBadRequest)
						a.Message = tc.words
						a.Header.Set("X-Prometheus-Remote-Write-Samples-Written", "0")
						return a
					}, p)
					sum := fates{dropped: map[Reason]int{}}
					var all []labels.Labels
					for i := range 3 {
						all = append(all, labels.FromStrings("__name__", fmt.Sprint("metric_", i)))
					}
					if !r.NewSender(anyRandom(), nil, sum.add).deliver(t.Context(), messageWith(t, all)) {
						t.Fatal("interrupted")
					}
					if sum.accepted != 0 || sum.delivered+sum.refused != 3 || sum.delivered > 0 != tc.delivered {
						t.Errorf("%+v, want 3 samples, already delivered: %v", sum, tc.delivered)
					}
				})
			})
		}
	}
}
