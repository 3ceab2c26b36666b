// Package envoyproxy runs a real Envoy as Istio runs it beside an application: a statistics page on port 15090 of the
// pod's address, and a proxied port in front of a small HTTP application, so that requests move counters and
// histograms. The tests of e2e and e2e/mixin use it.
package envoyproxy

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

//go:embed bootstrap.yaml.tmpl
var bootstrap string

// Config describes the binary, the folder to write to, and the address of the statistics page.
type Config struct {
	Path  string // path of the envoy binary
	Dir   string // folder for bootstrap and log; the caller removes it after Close
	Stats string // host:port of the stats listener: 127.0.15.7:15090
}

// Proxy is a running Envoy and its application.
type Proxy struct {
	cfg       Config
	adminPort int
	proxyPort int
	app       *httptest.Server
	server    *process.Process
}

// Start starts the application and Envoy. It returns when both listeners answer.
func Start(ctx context.Context, cfg Config) (*Proxy, error) {
	ports, err := process.FreePorts(2)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, adminPort: ports[0], proxyPort: ports[1]}
	p.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "the application\n")
	}))
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Proxy) start(ctx context.Context) (err error) {
	file := filepath.Join(p.cfg.Dir, "envoy.yaml")
	if err := p.writeBootstrap(file); err != nil {
		return err
	}
	p.server, err = process.Start(process.Spec{
		Name:    "envoy",
		Path:    p.cfg.Path,
		LogFile: filepath.Join(p.cfg.Dir, "envoy.log"),
		Args: []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level",
			"warning"},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return p.server.WaitReady(ctx, func(ctx context.Context) error {
		_, err := p.Page(ctx)
		return errors.Join(err, p.Request(ctx))
	})
}

func (p *Proxy) writeBootstrap(file string) error {
	statsHost, port, err := net.SplitHostPort(p.cfg.Stats)
	if err != nil {
		return err
	}
	statsPort, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	tmpl, err := template.New("bootstrap").Parse(bootstrap)
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	err = tmpl.Execute(out, map[string]any{
		"AdminPort": p.adminPort,
		"ProxyPort": p.proxyPort,
		"AppPort":   p.app.Listener.Addr().(*net.TCPAddr).Port,
		"StatsHost": strconv.Quote(statsHost),
		"StatsPort": statsPort,
	})
	return errors.Join(err, out.Close())
}

// Request sends one request through the proxied port to the application.
func (p *Proxy) Request(ctx context.Context) error {
	_, err := get(ctx, fmt.Sprintf("http://127.0.0.1:%d/", p.proxyPort))
	return err
}

// Page returns the statistics page.
func (p *Proxy) Page(ctx context.Context) (string, error) {
	return get(ctx, "http://"+p.cfg.Stats+"/stats/prometheus")
}

// Close stops Envoy and its application.
func (p *Proxy) Close() {
	if p.server != nil {
		p.server.Kill()
	}
	p.app.Close()
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return string(body), err
}
