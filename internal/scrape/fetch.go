package scrape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/klauspost/compress/gzip"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// errBodyLimit is a page as long as body_size_limit, or longer, uncompressed.
var errBodyLimit = errors.New("body size limit exceeded")

// maxIdleConns bounds the connections a job keeps open between scrapes: each costs two goroutines and 8 KB.
const maxIdleConns = 4096

// maxDrainBytes is how much of a refused answer is read so that its connection can be used again.
const maxDrainBytes = 64 << 10

// fetcher reads pages as one job's configuration says. Immutable.
type fetcher struct {
	client         *http.Client
	accept         string
	acceptEncoding string
	userAgent      string
	bodyLimit      int64 // 0: none
}

func newFetcher(cfg *promconfig.ScrapeConfig, allowLoopback, ownAddress bool) (*fetcher, error) {
	var opts []config_util.HTTPClientOption
	if cfg.HTTPClientConfig.ProxyURL.URL == nil && !cfg.HTTPClientConfig.ProxyFromEnvironment {
		// A proxy is the user's choice, and what it dials is its own affair.
		opts = append(opts, config_util.WithDialContextFunc(guardedDial(allowLoopback || namesAddresses(cfg))))
	}
	client, err := config_util.NewClientFromConfig(cfg.HTTPClientConfig, cfg.JobName, opts...)
	if err != nil {
		return nil, err
	}
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConns = maxIdleConns
		t.MaxIdleConnsPerHost = 1
	}
	if ownAddress {
		client.CheckRedirect = sameHostOnly(client.CheckRedirect)
	}
	escaping, err := promconfig.ToEscapingScheme(cfg.MetricNameEscapingScheme, cfg.MetricNameValidationScheme)
	if err != nil {
		return nil, err
	}
	return &fetcher{
		client:         client,
		accept:         exposition.AcceptHeader(cfg.ScrapeProtocols, escaping),
		acceptEncoding: exposition.AcceptEncoding(cfg.EnableCompression),
		userAgent:      "envoy-scraper/" + version.Version,
		bodyLimit:      int64(cfg.BodySizeLimit),
	}, nil
}

// namesAddresses tells whether the user's own lists name a job's targets.
func namesAddresses(cfg *promconfig.ScrapeConfig) bool {
	for _, sd := range cfg.ServiceDiscoveryConfigs {
		if _, static := sd.(discovery.StaticConfig); static || sd.Name() == "file" {
			return true
		}
	}
	return false
}

func sameHostOnly(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != via[0].URL.Hostname() {
			return fmt.Errorf("redirect to another host, %s, refused: this job scrapes a pod's own addresses only", req.URL.Host)
		}
		if next != nil {
			return next(req, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
}

// page is an answer being read. Its owner closes it.
type page struct {
	contentType string
	body        *limitedBody
	close       func()
}

// get asks a target for its page. An error is a failed scrape.
func (f *fetcher) get(ctx context.Context, t *target) (*page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", f.accept)
	req.Header.Set("Accept-Encoding", f.acceptEncoding)
	req.Header.Set("User-Agent", f.userAgent)
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.timeout.Seconds(), 'f', -1, 64))
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrainBytes)
		_ = resp.Body.Close()
		return nil, fmt.Errorf("server returned HTTP status %s", resp.Status)
	}
	p := &page{contentType: resp.Header.Get("Content-Type"), close: func() { _ = resp.Body.Close() }}
	reader := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bufio.NewReader(resp.Body))
		if err != nil {
			p.close()
			return nil, err
		}
		reader = z
	}
	p.body = &limitedBody{r: reader, limit: f.bodyLimit}
	return p, nil
}

// limitedBody reads at most limit-1 bytes: a body as long as the limit is already too long, as in Prometheus.
type limitedBody struct {
	r     io.Reader
	limit int64
	n     int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.limit > 0 {
		if b.n >= b.limit {
			return 0, errBodyLimit
		}
		if left := b.limit - b.n; int64(len(p)) > left {
			p = p[:left]
		}
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	if b.limit > 0 && b.n >= b.limit {
		return n, errBodyLimit
	}
	return n, err
}
