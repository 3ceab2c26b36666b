package deliver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
	"github.com/prometheus/sigv4"

	"github.com/envoy-scraper/envoy-scraper/internal/rawsocket"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

const (
	maxMessageBytes = 1 << 10  // of the body of an answer, for logs
	MaxAnswerBytes  = 64 << 10 // of the body of an answer that are read at all
)

// httpClient is a Client over HTTP, as the settings say.
type httpClient struct {
	http     *http.Client
	requests map[wire.Protocol]*http.Request // without body; each POST uses a copy
	timeout  time.Duration
	idle     interface{ CloseIdleConnections() } // the innermost transport: those around it may not pass the call on
	// when idle connections were last closed after a failure, Unix nanoseconds
	renewed atomic.Int64
}

// renewInterval is how long an endpoint that answers with failures is reached over its old connections. Together with
// the largest backoff it bounds how long the old address of a name is used after a failure.
const renewInterval = 10 * time.Second

// NewClient returns a client for the HTTP settings in cfg. cfg.Client is not used.
func NewClient(cfg Settings) (Client, error) {
	c, err := promhttp.NewClientFromConfig(cfg.HTTPClientConfig, "remote_write",
		promhttp.WithDialContextFunc(dialWith(cfg)))
	if err != nil {
		return nil, err
	}
	if t, ok := c.Transport.(*http.Transport); ok { // no transport with credentials around it
		t.WriteBufferSize = writeBuffer
	}
	idle := &http.Client{Transport: c.Transport}
	if cfg.SigV4Config != nil {
		if c.Transport, err = sigv4.NewSigV4RoundTripper(cfg.SigV4Config, c.Transport); err != nil {
			return nil, err
		}
	}
	if cfg.AzureADConfig != nil {
		if c.Transport, err = azuread.NewAzureADRoundTripper(cfg.AzureADConfig, c.Transport); err != nil {
			return nil, err
		}
	}
	if cfg.GoogleIAMConfig != nil {
		if c.Transport, err = googleiam.NewRoundTripper(cfg.GoogleIAMConfig, c.Transport); err != nil {
			return nil, err
		}
	}
	if c.CheckRedirect == nil {
		c.CheckRedirect = checkRedirect(cfg)
	}
	requests := map[wire.Protocol]*http.Request{}
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		req, err := http.NewRequest(http.MethodPost, cfg.URL.String(), http.NoBody) //nolint:noctx // each copy has one
		if err != nil {
			return nil, withoutURL(err)
		}
		for name, value := range cfg.Headers { // before the headers of the protocol, which they must not override
			req.Header.Set(name, value)
		}
		setProtocolHeaders(req.Header, p)
		requests[p] = req
	}
	return &httpClient{http: c, requests: requests, timeout: time.Duration(cfg.RemoteTimeout), idle: idle}, nil
}

// dialWith returns how cfg connects to a receiver.
func dialWith(cfg Settings) promhttp.DialContextFunc {
	dial := cfg.Dial
	switch {
	case dial != nil:
	case cfg.RoundRobinDNS:
		dial = (&anyAddress{random: cfg.Chance.Rand()}).dial
	default:
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return rawsocket.Wrap(c), nil
	}
}

// writeBuffer is the size of the write buffer of a connection, and so of each lane. A request of 2,000 samples and its
// headers fit in, so that they are written at once: this saves a third of the cost of such a POST. A larger one is
// written in two calls, the second without a copy.
const writeBuffer = 32 << 10

// checkRedirect follows redirects that repeat the POST. It does not follow 301 to 303, which turn a POST into a GET
// whose success would mean nothing, and no redirect from TLS to plain HTTP. It does not follow a redirect to another
// host if secrets would travel there that prometheus/common does not hold back itself.
func checkRedirect(cfg Settings) func(*http.Request, []*http.Request) error {
	secretive := len(cfg.Headers) > 0 || cfg.HTTPClientConfig.HTTPHeaders != nil ||
		cfg.SigV4Config != nil || cfg.AzureADConfig != nil || cfg.GoogleIAMConfig != nil
	return func(req *http.Request, via []*http.Request) error {
		if req.Method != http.MethodPost || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return http.ErrUseLastResponse
		}
		if secretive && !strings.EqualFold(req.URL.Host, via[0].URL.Host) {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// Post implements Client.
func (c *httpClient) Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) Answer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var use bodyUse
	req := c.requests[p].Clone(use.watch(ctx))
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.renew(0)
		return Answer{Err: withoutURL(err), Unsent: use.began.Load() == 0, BodyInUse: !use.over()}
	}
	if resp.StatusCode >= 500 {
		defer c.renew(renewInterval)
	}
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Message: readMessage(resp)}
	a.BodyInUse = !use.over()
	if location := resp.Header.Get("Location"); location != "" && a.Status/100 == 3 {
		a.Message = "redirects elsewhere; write the final address into url"
	}
	return a
}

// readMessage reads the message of a receiver, and closes the body of the answer.
func readMessage(resp *http.Response) string {
	defer func() { _ = resp.Body.Close() }()
	if resp.ContentLength == 0 {
		return ""
	}
	message, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessageBytes))
	// A short rest is read, so that the connection can be used again. A long rest is cut off.
	_, _ = io.CopyN(io.Discard, resp.Body, MaxAnswerBytes-maxMessageBytes)
	return strings.ToValidUTF8(strings.TrimSpace(string(message)), "?")
}

// bodyUse watches whether a transport still reads the body of a POST, which it may do even after the answer has come.
type bodyUse struct{ began, ended atomic.Int32 }

// watch returns a context for the POST. Watching when the body is closed would be simpler, but net/http puts a body
// into the packet of the headers only if it is one of its own readers in memory.
func (u *bodyUse) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:      func(httptrace.GotConnInfo) { u.began.Add(1) },
		WroteRequest: func(httptrace.WroteRequestInfo) { u.ended.Add(1) },
	})
}

// over reports whether the transport has finished sending the body. It is false for a transport that does not call
// the trace.
func (u *bodyUse) over() bool {
	ended := u.ended.Load()
	return ended > 0 && ended == u.began.Load()
}

// renew closes idle connections, unless that happened less than interval ago: only a new connection looks the name of
// the receiver up again.
func (c *httpClient) renew(interval time.Duration) {
	now, last := time.Now().UnixNano(), c.renewed.Load()
	if now-last >= int64(interval) && c.renewed.CompareAndSwap(last, now) {
		c.idle.CloseIdleConnections()
	}
}

// Close closes idle connections.
func (c *httpClient) Close() { c.idle.CloseIdleConnections() }

func setProtocolHeaders(h http.Header, p wire.Protocol) {
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", "envoy-scraper/"+version.Version)
	if p == wire.V1 {
		h.Set("Content-Type", "application/x-protobuf")
		h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		return
	}
	h.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
}

// withoutURL removes the URL from an error: it may hold credentials.
func withoutURL(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		if inner := u.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

// anyAddress connects to a random address of a name (round_robin_dns).
type anyAddress struct {
	mu     sync.Mutex
	random *rand.Rand // guarded by mu
}

func (a *anyAddress) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(addrs) == 0 {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	a.mu.Lock()
	at := addrs[a.random.IntN(len(addrs))]
	a.mu.Unlock()
	return d.DialContext(ctx, network, net.JoinHostPort(at, port))
}
