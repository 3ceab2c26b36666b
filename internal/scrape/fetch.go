package scrape

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

// errBodyLimit says that the uncompressed page is as long as body_size_limit, or longer.
var errBodyLimit = errors.New("body size limit exceeded")

// maxDrainBytes limits how much of a failed response is read so that its connection can be kept.
const maxDrainBytes = 64 << 10

// fetcher sends the requests of one job and reads the pages. Between scrapes it keeps connections, unzippers
// and counts of targets. Safe for concurrent use.
type fetcher struct {
	client         *http.Client // used if plain cannot send the request
	guard          *guard       // opens the connections of client and plain
	plain          *plainClient // used for simple requests; nil: client is used for all
	pods           *podClient   // used for targets of pods that are read through an API server; nil: there are none
	accept         string
	acceptEncoding string // used unless byPlace is set
	byPlace        bool   // each target is asked for an encoding by where it is, see encodingOf
	userAgent      string
	bodyLimit      int64     // 0: no limit
	unzippers      sync.Pool // of *unzipper

	cfg        *promconfig.ScrapeConfig
	ownAddress bool
	sockets    socketFetchers
	targets    targetCounts
	closed     atomic.Bool
}

// budget holds the limits that all jobs share. The zero budget limits nothing.
type budget struct {
	memory      *pageMemory
	connections *connLimit
	zstd        *zstdMemory
}

func newFetcher(cfg *promconfig.ScrapeConfig, opts Options, ownAddress bool) (*fetcher, error) {
	g := newGuard(cfg.HTTPClientConfig, opts.AllowLoopback)
	g.budget, g.network = opts.budget, opts.Dial
	return newFetcherWithGuard(cfg, g, ownAddress)
}

func newFetcherWithGuard(cfg *promconfig.ScrapeConfig, g *guard, ownAddress bool) (*fetcher, error) {
	withoutHeaders := cfg.HTTPClientConfig
	withoutHeaders.HTTPHeaders = nil
	client, err := config_util.NewClientFromConfig(withoutHeaders, cfg.JobName, config_util.WithDialContextFunc(g.dial))
	if err != nil {
		return nil, err
	}
	if t, ok := client.Transport.(*http.Transport); ok {
		t.MaxIdleConns = 0 // budget.connections limits open connections
		t.MaxIdleConnsPerHost = 1
		t.MaxResponseHeaderBytes = maxHeaderBytes
	}
	client.Transport = withJobHeaders(cfg.HTTPClientConfig.HTTPHeaders, client.Transport)
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
	if canUsePlainClient(cfg.HTTPClientConfig) {
		f.plain = newPlainClient(g.dial, f.request, g.budget.memory)
		f.plain.idle.closeAll = g.budget.connections.hasWaiters
	}
	g.budget.connections.add(f)
	return f, nil
}

// close closes idle connections. A running scrape is not interrupted; its connection is closed after it.
func (f *fetcher) close() {
	f.closed.Store(true)
	f.guard.budget.connections.remove(f)
	f.sockets.close()
	f.client.CloseIdleConnections()
	if f.plain != nil {
		f.plain.idle.close()
	}
	if f.pods != nil {
		f.pods.http.CloseIdleConnections()
	}
}

// add registers a target before its first scrape.
func (f *fetcher) add(t *target) {
	f.targets.add(t)
}

// forget undoes add. It closes the target's idle connection unless another target has the same host and port.
func (f *fetcher) forget(t *target) {
	switch last := f.targets.remove(t); {
	case !last:
	case t.socket != "":
		f.sockets.forget(t.socket)
	case f.plain != nil:
		f.plain.idle.forget(t.hostPort)
	case f.closed.Load(): // the last scrapes returned their connections after close
		f.client.CloseIdleConnections()
	}
}

// page is a response whose body is being read. Its owner closes it exactly once.
type page struct {
	contentType string
	body        *limitedBody
	limited     limitedBody // the body, once there is one
	response    io.Closer
	fetcher     *fetcher
	decoder     decoder // nil: not compressed
	unknown     string  // a compression that was not requested; empty: none
	zstdOf      *target // whose request asked for zstd; nil: none
}

// wireBytes returns how many bytes of the body were read so far, as they were sent.
func (p *page) wireBytes() int64 {
	if p.decoder != nil {
		return p.decoder.sentBytes()
	}
	return p.body.n
}

func (p *page) close() {
	_ = p.response.Close()
	p.fetcher.putDecoder(p.decoder, p.zstdOf)
}

// ask is what one request for a target's page asks for, and another one may not.
type ask struct {
	param    string // one more parameter of the URL; empty: none
	encoding string // Accept-Encoding
}

// ask returns what the request for a page asks for. It must be closed then.
func (p *page) ask(t *target, param string) ask {
	if p.fetcher.takeZstd(t) {
		p.zstdOf = t
	}
	return ask{param, p.fetcher.encodingOf(t, p.zstdOf != nil)}
}

// statusError says that a target answered with another status than 200.
type statusError struct {
	code   int
	status string // such as "404 Not Found"
}

func (e *statusError) Error() string {
	return "server returned HTTP status " + truncate(e.status, maxQuoted)
}

// get requests a target's page, with one more parameter unless param is empty. If it returns an error, the scrape has
// failed.
func (f *fetcher) get(ctx context.Context, t *target, param string) (*page, error) {
	if t.socket != "" && f.guard.socket == "" {
		forSocket, err := f.sockets.get(t.socket, f)
		if err != nil {
			return nil, err
		}
		return forSocket.get(ctx, t, param)
	}
	p := &page{fetcher: f, response: http.NoBody}
	succeeded := false
	defer func() {
		if !succeeded { // an error, or a panic
			p.close()
		}
	}()
	resp, err := f.do(ctx, t, p.ask(t, param))
	if err != nil {
		return nil, err
	}
	p.contentType, p.response = resp.contentType, resp.body
	if resp.code != http.StatusOK {
		_, _ = io.CopyN(io.Discard, resp.body, maxDrainBytes)
		return nil, &statusError{resp.code, resp.status}
	}
	reader, err := f.decompress(p, resp.encoding, resp.body)
	if err != nil {
		return nil, resp.lease.explain(err)
	}
	p.limited = limitedBody{r: reader, lease: resp.lease, limit: f.bodyLimit}
	if p.decoder == nil {
		p.limited.pieces = resp.pieces
	}
	p.body = &p.limited
	succeeded = true
	return p, nil
}

// response holds the parts of an HTTP response that a scrape needs.
type response struct {
	code        int
	status      string // such as "404 Not Found"
	contentType string
	encoding    string
	body        io.ReadCloser
	pieces      exposition.Pieces // reads the same as body; nil: body must be read
	lease       *lease            // ends when body is closed
}

// do sends the request through the API server if the target is a pod that is read so, else through plain where
// possible, else through net/http.
func (f *fetcher) do(ctx context.Context, t *target, a ask) (response, error) {
	if f.plain != nil && t.pod == nil {
		if r, err := f.plain.get(ctx, t, a); !errors.Is(err, errUseNetHTTP) {
			return r, err
		}
	}
	req, err := f.request(context.WithValue(ctx, targetKey{}, t), t, a)
	if err != nil {
		return response{}, err
	}
	if err := f.guard.check(req.URL, t); err != nil {
		return response{}, err
	}
	client := f.client
	if t.pod != nil {
		client, req = f.pods.http, f.pods.withPod(req, t)
	} else {
		req.Close = f.guard.budget.connections.nearLimit()
		req = traceAnswer(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); a.param != "" && errors.As(err, &ue) {
			ue.URL = t.url // errors name the page, however it is asked for
		}
		return response{}, err
	}
	body := resp.Body
	l, err := f.guard.budget.memory.take(ctx, false, func() { _ = body.Close() })
	if err != nil {
		_ = body.Close()
		return response{}, err
	}
	answerTimerOf(ctx).note(bodyRead)
	resp.Body = &leasedBody{body, l}
	r := responseOf(resp)
	r.lease = l
	return r, nil
}

// leasedBody ends its lease of memory when it is closed.
type leasedBody struct {
	io.ReadCloser
	lease *lease
}

// Close implements io.Closer.
func (b *leasedBody) Close() error {
	b.lease.end()
	return b.ReadCloser.Close()
}

func responseOf(resp *http.Response) response {
	return response{
		code: resp.StatusCode, status: resp.Status, body: resp.Body,
		contentType: resp.Header.Get("Content-Type"), encoding: resp.Header.Get("Content-Encoding"),
	}
}

func (f *fetcher) request(ctx context.Context, t *target, a ask) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, withParam(t.url, a.param), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", f.accept)
	req.Header.Set("Accept-Encoding", a.encoding)
	req.Header.Set("User-Agent", f.userAgent)
	req.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.timeout.Seconds(), 'f', -1, 64))
	return req, nil
}

// withParam returns a URL of a target with one more parameter, unless that is empty.
func withParam(url, param string) string {
	switch {
	case param == "":
		return url
	case strings.Contains(url, "?"):
		return url + "&" + param
	default:
		return url + "?" + param
	}
}

// limitedBody returns errBodyLimit once limit bytes were read. A body of exactly limit bytes is too long, as in
// Prometheus.
type limitedBody struct {
	r      io.Reader
	pieces exposition.Pieces // reads the same as r, without a copy; nil: r must be read
	lease  *lease
	limit  int64
	n      int64 // bytes read
	err    error // why the body could not be read to its end; nil: no error so far
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.read(p)
	return n, b.note(n, err)
}

// note notes that n bytes were read, and the error, which it returns.
func (b *limitedBody) note(n int, err error) error {
	b.lease.progress(n)
	if err != nil && err != io.EOF {
		err = b.lease.explain(err)
		b.err = err
	}
	return err
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

// reader returns what the page is read from: b, or its pieces.
func (b *limitedBody) reader() io.Reader {
	if b.pieces != nil {
		return (*limitedPieces)(b)
	}
	return b
}

// limitedPieces is a limitedBody that is read in pieces.
type limitedPieces limitedBody

func (b *limitedPieces) Read(p []byte) (int, error) { return (*limitedBody)(b).Read(p) }

// More implements exposition.Pieces. It notes what arrives while it waits for more: a long line that comes slowly does
// not stall.
func (b *limitedPieces) More(keep, least int) (text []byte, err error) {
	all := (*limitedBody)(b)
	for got := 0; got < least && err == nil; {
		if b.limit > 0 && b.n >= b.limit {
			return text, all.note(0, errBodyLimit)
		}
		text, err = b.pieces.More(keep+got, 1)
		n := len(text) - keep - got
		if over := b.n + int64(n) - b.limit; b.limit > 0 && over >= 0 {
			n -= int(over)
			text, err = text[:keep+got+n], errBodyLimit
		}
		b.n += int64(n)
		got += n
		err = all.note(n, err)
	}
	return text, err
}
