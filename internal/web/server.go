package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// Limits of a connection. A client that is slower or sends more is disconnected.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 2 * time.Minute // enough for 10,000 targets over a slow connection
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownGrace     = 3 * time.Second // for requests that run when the process ends
)

// Config is the part of the command line that the server needs.
type Config struct {
	ListenAddress   string // host:port; port 0 takes any free one
	WebConfigFile   string // exporter-toolkit's file: TLS, basic auth, headers; empty: plain HTTP
	EnableLifecycle bool   // allows /-/reload
	EnablePprof     bool   // serves /debug/pprof/
	ExternalHost    string // replaces loopback addresses in the API's globalUrl; empty: they stay

	// Listen opens the port; nil: on the network of the machine.
	Listen func(network, address string) (net.Listener, error)
}

// Sources is the data of the pages. The functions must be safe for concurrent calls.
type Sources struct {
	Targets    func() []scrape.PoolStatus
	Providers  func() []discovery.ProviderStatus      // each discovery of each job
	Rules      func(job string) []*promrelabel.Config // the rules that choose a job's targets
	Explain    func(labels.Labels, []*promrelabel.Config) []relabel.Step
	ConfigYAML func() (string, error) // the configuration in force, without secrets
	Loaded     func() Loaded
	Endpoints  func() []remotewrite.EndpointStatus
	History    func() []history.Line // the last hour
	Pods       PodSources
	Cost       func(context.Context, cost.Query) (*cost.Report, error)
	Aggregates Aggregates
	Ready      func() (ok bool, why string) // why: the reason if not ok
	Reload     func(context.Context) error
	Notice     string // a sentence that every page shows; empty: none
	Build      Build
	Flags      map[string]string // values by the name of the flag
	Started    time.Time
	Gatherer   prometheus.Gatherer
}

// PodSources is the data of /pods. Ask and Preview may be nil; then the pages lack what they return.
type PodSources struct {
	Report func() diagnose.Report // may be a few seconds old
	// Ask asks the API server for one pod. It returns a report that has the pod even if no job looks at it, and
	// what the API server says of it. If the API server does not answer, the error says why, and the report is as
	// without asking.
	Ask func(ctx context.Context, namespace, pod string) (diagnose.Report, []show.Fact, error)
	// Targets returns every discovered target of a pod, as Pools.FullStatusOf does. Those of other pods are ignored.
	Targets func(scrape.Pod) []scrape.PoolStatus
	// Preview fetches the page of a running target.
	Preview func(ctx context.Context, job, url string) (*scrape.Preview, error)
}

// Loaded is the result of the last reloads.
type Loaded struct {
	At      time.Time // when the configuration in force was loaded
	Refused time.Time // when a later configuration was refused; zero: never
	Why     error     // why it was refused, without secrets
}

// Build is the version of the program, with the field names of Prometheus' API.
type Build struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// Server serves the pages and the API. Call New, Listen, which opens the port, and Run.
type Server struct {
	cfg  Config
	src  Sources
	log  *zap.Logger
	now  func() time.Time
	tmpl func() *template.Template // parses them at the first page: most instances show none
	http *http.Server

	previews chan struct{} // holds an element for each person for whom evidence of a pod is being fetched

	listener net.Listener // owned by Listen until Run, then by Run
}

// New returns a server that has not opened its port.
func New(cfg Config, src Sources, log *zap.Logger) *Server {
	s := &Server{cfg: cfg, src: src, log: log, now: time.Now, tmpl: sync.OnceValue(parseTemplates),
		previews: make(chan struct{}, maxPreviews)}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// The messages of net/http are about clients: broken TLS, closed connections.
		ErrorLog: slog.NewLogLogger(zapslog.NewHandler(log.Core()), slog.LevelDebug),
	}
	return s
}

// Listen checks the web configuration, opens the port, and returns its address.
func (s *Server) Listen() (net.Addr, error) {
	if err := toolkit.Validate(s.cfg.WebConfigFile); err != nil {
		return nil, fmt.Errorf("--web.config.file: %s: %w", s.cfg.WebConfigFile, err)
	}
	listen := s.cfg.Listen
	if listen == nil {
		listen = net.Listen
	}
	l, err := listen("tcp", s.cfg.ListenAddress)
	if err != nil {
		return nil, fmt.Errorf("--web.listen-address: %w (give a free port of this machine; port 0 takes any)", err)
	}
	s.listener = l
	s.log.Info("serving pages", zap.Stringer("address", l.Addr()), zap.Bool("lifecycle", s.cfg.EnableLifecycle))
	return l.Addr(), nil
}

// Close closes the port of a server that does not run, or does not run any more.
func (s *Server) Close() {
	if s.listener != nil {
		_ = s.listener.Close() // Run has closed it already
	}
}

// Run serves until ctx ends, which is not an error. Then it waits for running requests, up to shutdownGrace.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if _, err := s.Listen(); err != nil {
			return err
		}
	}
	defer s.listener.Close() // Serve does not close it if the web configuration has become invalid since Listen

	served := make(chan error, 1)
	go func() {
		// At level info, the toolkit repeats the message of Listen.
		quiet := s.log.WithOptions(zap.IncreaseLevel(zapcore.WarnLevel))
		served <- toolkit.Serve(s.listener, s.http, &toolkit.FlagConfig{WebConfigFile: &s.cfg.WebConfigFile},
			slog.New(zapslog.NewHandler(quiet.Core())))
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve pages: %w", err)
	case <-ctx.Done():
	}

	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.http.Close()
	}
	if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve pages: %w", err)
	}
	return nil
}
