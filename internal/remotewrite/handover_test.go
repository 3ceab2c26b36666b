package remotewrite

import (
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	promhttp "github.com/prometheus/common/config"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestALaneThatComesBackHasOneSender takes lanes away and gives them back while their requests are in flight.
func TestALaneThatComesBackHasOneSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withLanes := func(n int) EndpointConfig {
			ec := endpointConfig("a")
			ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 30, n, n
			return ec
		}
		w := newWorld(t, withLanes(8))
		r := w.receivers["a"]
		r.delay = 20 * time.Second // less than remote_timeout
		w.run()
		var pods []target
		for i := range 40 {
			pods = append(pods, w.target(fmt.Sprintf("pod-%d", i), 30))
		}
		sent := 0
		for _, n := range []int{8, 2, 8, 3, 8} {
			w.cfg.Endpoints = []EndpointConfig{withLanes(n)}
			w.apply()
			for range 2 {
				for _, pod := range pods {
					w.append(w.scrape(pod, nowMillis()))
					sent += 30
				}
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Hour)
		w.stop()
		if r.total() != sent || r.disorder != 0 {
			t.Errorf("%d of %d samples arrived, %d out of order or twice", r.total(), sent, r.disorder)
		}
		w.conserved("a", sent)
	})
}

// TestAnAnswerFromBeforeAReloadSaysNothingOfTheNewSettings: it belongs to another URL, or protocol.
func TestAnAnswerFromBeforeAReloadSaysNothingOfTheNewSettings(t *testing.T) {
	unavailable := status(503)
	unavailable.Header.Set("Retry-After", "300")
	for name, c := range map[string]struct {
		before, after remoteapi.WriteMessageType // "": not written
		late          func(p wire.Protocol, samples int) deliver.Answer
		want          wire.Protocol
	}{
		"2.0 taken, 1.0 wanted now": {"", remoteapi.WriteV1MessageType, fine, wire.V1},
		"2.0 refused, 2.0 wanted now": {"", remoteapi.WriteV2MessageType,
			func(wire.Protocol, int) deliver.Answer { return status(415) }, wire.V2},
		"to be left alone": {"", "", func(wire.Protocol, int) deliver.Answer { return unavailable },
			wire.V2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				with := func(message remoteapi.WriteMessageType, host string) EndpointConfig {
					ec := endpointConfig("a")
					ec.URL = &promhttp.URL{URL: &url.URL{Scheme: "http", Host: host}}
					if message != "" {
						ec.Negotiate, ec.ProtobufMessage = false, message
					}
					return ec
				}
				w := newWorld(t, with(c.before, "old.test"))
				r := w.receivers["a"]
				r.delay = 10 * time.Second
				var got []wire.Protocol // under the new settings
				late := true
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					if late {
						late = false
						return c.late(p, n)
					}
					got = append(got, p)
					return fine(p, n)
				})
				w.run()
				w.append(w.scrape(w.target("pod-1", 10), nowMillis()))
				time.Sleep(7 * time.Second) // it is under way
				w.cfg.Endpoints = []EndpointConfig{with(c.after, "new.test")}
				w.apply()
				w.append(w.scrape(w.target("pod-1", 10), nowMillis()))
				time.Sleep(40 * time.Second)
				w.stop()
				if len(got) == 0 {
					t.Error("nothing was sent under the new settings")
				}
				for _, p := range got {
					if p != c.want {
						t.Errorf("sent as %v, want %v", p, c.want)
					}
				}
			})
		})
	}
}
