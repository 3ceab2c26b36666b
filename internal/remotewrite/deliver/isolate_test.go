package deliver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestRequestsOfASearch counts the POSTs that each of twelve messages of 2,000 series costs, with the same bad series
// in each. Without what the sender remembers, each message would cost as many as the first.
func TestRequestsOfASearch(t *testing.T) {
	for _, tc := range []struct{ bad, first, last, lostAtLast int }{
		{bad: 1, first: 21, last: 2},
		{bad: 5, first: 93, last: 4},
		{bad: 20, first: 129, last: 4},
		{bad: 200, first: 129, last: 69, lostAtLast: 1420}, // too many for one search
		{bad: 2000, first: 129, last: 12},                  // a receiver that refuses everything
	} {
		t.Run(fmt.Sprint(tc.bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 2000
				var all []labels.Labels
				for i := range size {
					name := "good"
					if i%(size/tc.bad) == 0 {
						name = "bad"
					}
					all = append(all, labels.FromStrings("__name__", fmt.Sprint(name, "_", i), "job", "envoy"))
				}
				m := messageWith(t, all)
				posts, accepted := 0, 0
				r := newTestReceiver(func(_ context.Context, body []byte, _ wire.Protocol, _ int) Answer {
					posts++
					time.Sleep(10 * time.Millisecond)
					if plain, err := snappy.Decode(nil, body); err != nil || hasBadSeries(plain) {
						return Answer{Status: 400, Message: "label value too long"}
					}
					return answerOf(204)
				}, wire.V1)
				s := r.NewSender(anyRandom(), nil, func(f Fate) { accepted += f.Accepted })
				for i := range 12 {
					posts, accepted = 0, 0
					s.deliver(t.Context(), m)
					if i == 0 && posts != tc.first {
						t.Errorf("the first message cost %d requests, want %d", posts, tc.first)
					}
					time.Sleep(15 * time.Second)
				}
				if lost := size - tc.bad - accepted; posts != tc.last || lost != tc.lostAtLast {
					t.Errorf("the twelfth message cost %d requests and %d good samples, want %d and %d", posts, lost,
						tc.last, tc.lostAtLast)
				}
			})
		})
	}
}

func hasBadSeries(plain []byte) bool {
	var req prompb.WriteRequest
	if err := req.Unmarshal(plain); err != nil {
		return true
	}
	for _, ts := range req.Timeseries {
		if strings.HasPrefix(ts.Labels[0].Value, "bad") {
			return true
		}
	}
	return false
}
