package delay

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	targets  = 3
	series   = 300 // per page, so that three scrapes fit into max_samples_per_send
	interval = time.Second
	columns  = 3 // scrapes of a target in a request of the delayed endpoints
	patience = time.Minute
)

// A database is a real Prometheus and the endpoint that writes to it.
type database struct {
	*receiver.Receiver
	name    string // of the endpoint
	message string // protobuf_message
	scrapes int    // of a target in a request
	url     string // empty: Prometheus' own
}

// A world is one agent, its targets, and its databases, which get the same scrapes.
type world struct {
	*testing.T
	dir, binary string
	fleet       *oracle.Fleet
	databases   []*database
	agent       *agent.Agent
	started     int // processes
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), binary: parts.Scraper(t)}
	w.fleet = parts.Fleet(t, parts.Addresses(t), 10, targets, series)
	return w
}

// addDatabase starts a Prometheus for an endpoint of a version of remote write.
func (w *world) addDatabase(version, scrapes int) *database {
	w.Helper()
	r := parts.Prometheus(w.T, receiver.Config{Protocol: receiver.V1AndV2})
	message := "prometheus.WriteRequest"
	if version == 2 {
		message = "io.prometheus.write.v2.Request"
	}
	db := &database{Receiver: r, name: fmt.Sprintf("v%d-%d", version, scrapes), message: message, scrapes: scrapes}
	w.databases = append(w.databases, db)
	return db
}

// configuration returns the content of the agent's configuration file.
func (w *world) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "global: {scrape_interval: %v, scrape_timeout: %v}\nscrape_configs:\n- job_name: delay\n"+
		"  static_configs: [{targets: [%s]}]\nremote_write:\n", interval, interval,
		strings.Join(w.fleet.Addresses(), ", "))
	for _, db := range w.databases {
		to := db.WriteURL()
		if db.url != "" {
			to = db.url
		}
		fmt.Fprintf(&b, "- {name: %s, url: '%s', protobuf_message: %s}\n", db.name, to, db.message)
	}
	b.WriteString("envoy_scraper:\n  endpoints:\n")
	for _, db := range w.databases {
		delay := 100 * time.Millisecond // each scrape of a target is a request of its own
		if db.scrapes > 1 {
			delay = time.Duration(db.scrapes) * interval
		}
		fmt.Fprintf(&b, "  - {name: %s, max_delay: %v}\n", db.name, delay)
	}
	return b.String()
}

// start starts the next process and waits until it is ready.
func (w *world) start() {
	w.Helper()
	w.started++
	w.agent = agent.Start(w.T, agent.Config{Path: w.binary, Dir: w.dir, Name: fmt.Sprintf("agent-%d", w.started),
		YAML: w.configuration(), Args: []string{"--storage.path=" + filepath.Join(w.dir, "storage")}})
	if _, err := w.agent.WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// scraped waits until each target was scraped n more times.
func (w *world) scraped(n int) {
	w.Helper()
	var goals []int
	for _, t := range w.fleet.Targets {
		goals = append(goals, len(t.Served())+n)
	}
	parts.Eventually(w.T, time.Duration(n)*interval+patience, fmt.Sprintf("%d more scrapes", n), func() error {
		for i, t := range w.fleet.Targets {
			if got := len(t.Served()); got < goals[i] {
				return fmt.Errorf("%d of %d scrapes of %s", got, goals[i], t.Address)
			}
		}
		return nil
	})
}

// finish stops the targets, then the agent, which delivers what waits.
func (w *world) finish() {
	w.Helper()
	w.fleet.Freeze()
	parts.Eventually(w.T, patience, "the last scrapes are stored", func() error {
		for _, db := range w.databases {
			for _, t := range w.fleet.Targets {
				if got, want := len(w.stored(db, t.Address, "000")), len(t.Served()); got < want {
					return fmt.Errorf("%s has %d of %d scrapes of %s", db.name, got, want, t.Address)
				}
				if !w.down(db, t.Address) {
					return fmt.Errorf("%s does not have the scrape of %s that failed", db.name, t.Address)
				}
			}
		}
		return nil
	})
	if dropped := w.dropped(); dropped > 0 {
		w.Errorf("%v samples counted as dropped", dropped)
	}
	if code := w.agent.Process.Stop(patience); code != 0 {
		w.Errorf("exit code %d; log:\n%s", code, w.agent.Process.Log())
	}
}

// down reports whether a database has up = 0 for a target. It comes with the staleness markers.
func (w *world) down(db *database, instance string) bool {
	w.Helper()
	matrix, err := db.Samples(w.Context(), fmt.Sprintf("up{instance=%q}[1h]", instance))
	if err != nil {
		w.Fatal(err)
	}
	return len(matrix) == 1 && matrix[0].Values[len(matrix[0].Values)-1].Value == 0
}

// dropped returns the samples that the process counts as dropped.
func (w *world) dropped() float64 {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return m.Sum("envoy_scraper_remotewrite_samples_dropped_total")
}

// A swallower is a proxy in front of a database. While it is on, it passes requests on and withholds the answers.
type swallower struct {
	*httputil.ReverseProxy
	on       atomic.Bool
	withheld atomic.Int32 // requests that the database accepted meanwhile
}

// ServeHTTP implements http.Handler.
func (s *swallower) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !s.on.Load() {
		s.ReverseProxy.ServeHTTP(rw, r)
		return
	}
	silent := &silentWriter{header: http.Header{}}
	s.ReverseProxy.ServeHTTP(silent, r.WithContext(context.WithoutCancel(r.Context())))
	if silent.status/100 == 2 {
		s.withheld.Add(1)
	}
	<-r.Context().Done() // until the agent is killed
	panic(http.ErrAbortHandler)
}

// silentWriter keeps the status of an answer and nothing else.
type silentWriter struct {
	header http.Header
	status int
}

func (s *silentWriter) Header() http.Header         { return s.header }
func (s *silentWriter) WriteHeader(status int)      { s.status = status }
func (s *silentWriter) Write(b []byte) (int, error) { return len(b), nil }

// swallow puts a swallower in front of a database.
func (w *world) swallow(db *database) *swallower {
	w.Helper()
	to, err := url.Parse(db.URL())
	if err != nil {
		w.Fatal(err)
	}
	s := &swallower{ReverseProxy: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}}
	server := httptest.NewServer(s)
	w.Cleanup(server.Close)
	db.url = server.URL + "/api/v1/write"
	return s
}
