package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// The bounds of one connection. A client that is slower, or says more, is cut off.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 2 * time.Minute // a list of 10,000 targets over a slow line
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownGrace     = 3 * time.Second // for requests that are under way when the process ends
)

// Config is where and how to serve.
type Config struct {
	ListenAddress   string // host:port; port 0 takes any free one
	WebConfigFile   string // exporter-toolkit's file: TLS, basic auth, headers; empty: plain HTTP
	EnableLifecycle bool   // allows /-/reload
	EnablePprof     bool   // serves /debug/pprof/
	ExternalHost    string // stands for loopback addresses in the API's globalUrl; empty: they stay as they are
}

// Sources is everything that the pages show. The functions are called from many goroutines at once.
type Sources struct {
	Targets    func() []scrape.PoolStatus
	Providers  func() []discovery.ProviderStatus      // each discovery of each job
	Rules      func(job string) []*promrelabel.Config // the rules that choose a job's targets
	Explain    func(labels.Labels, []*promrelabel.Config) []relabel.Step
	ConfigYAML func() (string, error) // the effective configuration, secrets already redacted
	Loaded     func() Loaded
	Endpoints  func() []remotewrite.EndpointStatus
	Ready      func() (ok bool, why string) // why: what is still missing
	Reload     func(context.Context) error
	Build      Build
	Flags      map[string]string // the command line, by flag name
	Started    time.Time
	Gatherer   prometheus.Gatherer
}

// Loaded says which configuration is in force.
type Loaded struct {
	At      time.Time // when it was loaded
	Refused time.Time // when a later one was refused; zero: none was
	Why     error     // that it was, secrets already redacted
}

// Build says which program this is, in the words of Prometheus' API.
type Build struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// Server serves the pages and the API. New makes it, Listen opens its port, Run serves.
type Server struct {
	cfg  Config
	src  Sources
	log  *zap.Logger
	now  func() time.Time
	tmpl *template.Template
	http *http.Server

	listener net.Listener // owned by Listen until Run, then by Run
}

// New makes a server that does nothing yet.
func New(cfg Config, src Sources, log *zap.Logger) *Server {
	s := &Server{cfg: cfg, src: src, log: log, now: time.Now, tmpl: parseTemplates()}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// What net/http has to say is about clients (broken TLS, cut connections), not about us.
		ErrorLog: slog.NewLogLogger(zapslog.NewHandler(log.Core()), slog.LevelDebug),
	}
	return s
}

// Listen checks the web configuration and opens the port. The address is the one chosen where the port was 0.
func (s *Server) Listen() (net.Addr, error) {
	if err := toolkit.Validate(s.cfg.WebConfigFile); err != nil {
		return nil, fmt.Errorf("--web.config.file: %s: %w", s.cfg.WebConfigFile, err)
	}
	l, err := net.Listen("tcp", s.cfg.ListenAddress)
	if err != nil {
		return nil, fmt.Errorf("--web.listen-address: %w (give it a free port of this machine; port 0 takes any)", err)
	}
	s.listener = l
	s.log.Info("serving pages", zap.Stringer("address", l.Addr()), zap.Bool("lifecycle", s.cfg.EnableLifecycle))
	return l.Addr(), nil
}

// Run serves until ctx ends, which is not an error, and then lets requests under way finish for a short while.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if _, err := s.Listen(); err != nil {
			return err
		}
	}
	defer s.listener.Close() // Serve returns without closing it where the web configuration broke since Listen

	served := make(chan error, 1)
	go func() {
		// The toolkit repeats at info what Listen said.
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
