package scrape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// errBodyLimit is a page as long as body_size_limit, or longer, uncompressed.
var errBodyLimit = errors.New("body size limit exceeded")

// errZstd is an answer in what no scrape asks for: Prometheus does behind a feature flag.
var errZstd = errors.New("received a zstd-compressed response, which was not asked for")

// maxDrainBytes is how much of a refused answer is read so that its connection can be used again.
const maxDrainBytes = 64 << 10

// fetcher reads pages as one job's configuration says. Immutable, but for the connections it keeps.
type fetcher struct {
	client         *http.Client
	guard          *guard // what client and plain dial with
	plain          *plain // asks where it can; nil: client asks for every page
	accept         string
	acceptEncoding string
	userAgent      string
	bodyLimit      int64     // 0: none
	unzippers      sync.Pool // of *unzipper

	cfg        *promconfig.ScrapeConfig
	ownAddress bool
	sockets    sockets
	places     places // of the targets that were added
	closed     atomic.Bool
}

// budget is what the scrapes of all jobs share. The zero budget bounds nothing.
type budget struct {
	memory      *pageMemory
	descriptors *descriptors
}

func newFetcher(cfg *promconfig.ScrapeConfig, b budget, allowLoopback, ownAddress bool) (*fetcher, error) {
	g := newGuard(cfg.HTTPClientConfig, allowLoopback)
	g.budget = b
	return fetcherThrough(cfg, g, ownAddress)
}

func fetcherThrough(cfg *promconfig.ScrapeConfig, g *guard, ownAddress bool) (*fetcher, error) {
	withoutHeaders := cfg.HTTPClientConfig
	withoutHeaders.HTTPHeaders = nil
	client, err := config_util.NewClientFromConfig(withoutHeaders, cfg.JobName, config_util.WithDialContextFunc(g.dial))
	if err != nil {
		return nil, err
	}
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConns = 0 // the guard bounds what is open
		t.MaxIdleConnsPerHost = 1
		t.MaxResponseHeaderBytes = maxHeadBytes
	}
	client.Transport = withHeaders(cfg.HTTPClientConfig.HTTPHeaders, client.Transport)
	escaping, err := promconfig.ToEscapingScheme(cfg.MetricNameEscapingScheme, cfg.MetricNameValidationScheme)
	if err != nil {
		return nil, err
	}
	f := &fetcher{
		client:         client,
		guard:          g,
		accept:         exposition.AcceptHeader(cfg.ScrapeProtocols, escaping),
		acceptEncoding: exposition.AcceptEncoding(cfg.EnableCompression),
		userAgent:      "envoy-scraper/" + version.Version,
		bodyLimit:      int64(cfg.BodySizeLimit),
		cfg:            cfg,
		ownAddress:     ownAddress,
	}
	client.CheckRedirect = f.redirects(client.CheckRedirect, ownAddress)
	if isPlain(cfg.HTTPClientConfig) {
		f.plain = newPlain(g.dial, f.request, g.budget.memory)
		f.plain.idle.awaited = g.budget.descriptors.awaited
	}
	g.budget.descriptors.add(f)
	return f, nil
}

// close gives back what is kept between scrapes. A scrape that still runs ends as it would have.
func (f *fetcher) close() {
	f.closed.Store(true)
	f.guard.budget.descriptors.remove(f)
	f.sockets.close()
	f.client.CloseIdleConnections()
	if f.plain != nil {
		f.plain.idle.close()
	}
}

// add tells of a target that will be asked for.
func (f *fetcher) add(t *target) { f.places.add(t) }

// forget takes back an add: the target is gone. What is kept for it is closed, unless it is another's too.
func (f *fetcher) forget(t *target) {
	switch last := f.places.remove(t); {
	case !last:
	case t.socket != "":
		f.sockets.forget(t.socket)
	case f.plain != nil:
		f.plain.idle.forget(t.hostPort)
	case f.closed.Load(): // the last scrapes have put their connections back after close
		f.client.CloseIdleConnections()
	}
}

// page is an answer being read. Its owner closes it, once.
type page struct {
	contentType string
	body        *limitedBody
	answer      io.Closer
	fetcher     *fetcher
	unzipper    *unzipper // nil: not compressed
}

func (p *page) close() {
	_ = p.answer.Close()
	if p.unzipper != nil {
		p.fetcher.unzippers.Put(p.unzipper)
	}
}

// get asks a target for its page. An error is a failed scrape.
func (f *fetcher) get(ctx context.Context, t *target) (*page, error) {
	if t.socket != "" && f.guard.socket == "" {
		through, err := f.sockets.through(t.socket, f)
		if err != nil {
			return nil, err
		}
		return through.get(ctx, t)
	}
	a, err := f.ask(ctx, t)
	if err != nil {
		return nil, err
	}
	p := &page{contentType: a.contentType, answer: a.body, fetcher: f}
	begun := false
	defer func() {
		if !begun { // an error, or a panic
			p.close()
		}
	}()
	if a.code != http.StatusOK {
		_, _ = io.CopyN(io.Discard, a.body, maxDrainBytes)
		return nil, fmt.Errorf("server returned HTTP status %s", cut(a.status, maxQuoted))
	}
	reader := io.Reader(a.body)
	switch a.encoding {
	case "zstd":
		return nil, errZstd
	case "gzip":
		p.unzipper = f.unzipper()
		reader = p.unzipper
		if err := p.unzipper.begin(a.body); err != nil {
			return nil, a.lease.because(err)
		}
	}
	p.body = &limitedBody{r: reader, lease: a.lease, limit: f.bodyLimit}
	begun = true
	return p, nil
}

// answer is what a scrape wants to know of a response.
type answer struct {
	code        int
	status      string // as the server put it, "404 Not Found"
	contentType string
	encoding    string
	body        io.ReadCloser
	lease       *lease // of memory; the body's
}

func (f *fetcher) ask(ctx context.Context, t *target) (answer, error) {
	if f.plain != nil {
		if a, err := f.plain.ask(ctx, t); !errors.Is(err, errHandOver) {
			return a, err
		}
	}
	req, err := f.request(context.WithValue(ctx, asking{}, t), t)
	if err != nil {
		return answer{}, err
	}
	if err := f.guard.check(req.URL, t); err != nil {
		return answer{}, err
	}
	req.Close = f.guard.budget.descriptors.scarce()
	resp, err := f.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	body := resp.Body
	l, err := f.guard.budget.memory.take(ctx, false, func() { _ = body.Close() })
	if err != nil {
		_ = body.Close()
		return answer{}, err
	}
	resp.Body = &leasedBody{body, l}
	a := answerOf(resp)
	a.lease = l
	return a, nil
}

// leasedBody is a body that gives memory back when it is closed.
type leasedBody struct {
	io.ReadCloser
	lease *lease
}

// Close implements io.Closer.
func (b *leasedBody) Close() error {
	b.lease.end()
	return b.ReadCloser.Close()
}

func answerOf(resp *http.Response) answer {
	return answer{
		code: resp.StatusCode, status: resp.Status, body: resp.Body,
		contentType: resp.Header.Get("Content-Type"), encoding: resp.Header.Get("Content-Encoding"),
	}
}

func (f *fetcher) request(ctx context.Context, t *target) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", f.accept)
	req.Header.Set("Accept-Encoding", f.acceptEncoding)
	req.Header.Set("User-Agent", f.userAgent)
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.timeout.Seconds(), 'f', -1, 64))
	return req, nil
}

// unzipper decompresses one page after another: its tables, 40 KB, are worth keeping.
type unzipper struct {
	in *bufio.Reader
	gzip.Reader
}

func (f *fetcher) unzipper() *unzipper {
	if u, ok := f.unzippers.Get().(*unzipper); ok {
		return u
	}
	return &unzipper{in: bufio.NewReader(nil)}
}

func (u *unzipper) begin(body io.Reader) error {
	u.in.Reset(body)
	return u.Reset(u.in)
}

// limitedBody reads at most limit-1 bytes: a body as long as the limit is already too long, as in Prometheus.
type limitedBody struct {
	r     io.Reader
	lease *lease
	limit int64
	n     int64
	err   error // that it could not be read to its end for
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.read(p)
	b.lease.progress(n)
	if err != nil && err != io.EOF {
		err = b.lease.because(err)
		b.err = err
	}
	return n, err
}

func (b *limitedBody) read(p []byte) (int, error) {
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
