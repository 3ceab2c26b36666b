package remotewrite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
	"github.com/prometheus/sigv4"
)

const (
	maxMessageBytes = 1 << 10  // of an answer's body, for logs
	maxAnswerBytes  = 64 << 10 // of an answer's body, read at all
)

// poster sends one request body and never retries.
type poster interface {
	post(ctx context.Context, body []byte, p protocol, attempt int) answer
	close()
}

// clientFunc makes the poster of an endpoint; tests put their own in its place.
type clientFunc func(EndpointConfig) (poster, error)

// client posts over HTTP as the endpoint's configuration says.
type client struct {
	http    *http.Client
	url     string
	headers map[string]string
	timeout time.Duration
}

func newClient(cfg EndpointConfig) (poster, error) {
	var opts []promhttp.HTTPClientOption
	if cfg.RoundRobinDNS {
		opts = append(opts, promhttp.WithDialContextFunc(dialAnyAddress))
	}
	c, err := promhttp.NewClientFromConfig(cfg.HTTPClientConfig, "remote_write", opts...)
	if err != nil {
		return nil, err
	}
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
	return &client{http: c, url: cfg.URL.String(), headers: cfg.Headers, timeout: time.Duration(cfg.RemoteTimeout)}, nil
}

// checkRedirect follows what repeats the POST. It does not follow 301 to 303, which turn a POST into a GET
// whose success would say nothing, nor to another host where more than prometheus/common's own credentials,
// which it keeps back itself, would travel along.
func checkRedirect(cfg EndpointConfig) func(*http.Request, []*http.Request) error {
	secretive := len(cfg.Headers) > 0 || cfg.HTTPClientConfig.HTTPHeaders != nil ||
		cfg.SigV4Config != nil || cfg.AzureADConfig != nil || cfg.GoogleIAMConfig != nil
	return func(req *http.Request, via []*http.Request) error {
		if req.Method != http.MethodPost || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		if secretive && !strings.EqualFold(req.URL.Host, via[0].URL.Host) {
			return http.ErrUseLastResponse
		}
		return nil
	}
}

// post implements poster.
func (c *client) post(ctx context.Context, body []byte, p protocol, attempt int) answer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for name, value := range c.headers { // first: nobody overrides what follows
		req.Header.Set(name, value)
	}
	setProtocolHeaders(req.Header, p)
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	defer func() { _ = resp.Body.Close() }()
	message, _ := io.ReadAll(io.LimitReader(resp.Body, maxMessageBytes))
	// What little is left is read so that the connection can be used again; what is much is cut off.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes-maxMessageBytes)
	a := answer{status: resp.StatusCode, header: resp.Header, message: strings.ToValidUTF8(strings.TrimSpace(string(message)), "?")}
	if location := resp.Header.Get("Location"); location != "" && a.status/100 == 3 {
		a.message = "redirects elsewhere; write the final address into url"
	}
	return a
}

// close lets idle connections go.
func (c *client) close() { c.http.CloseIdleConnections() }

func setProtocolHeaders(h http.Header, p protocol) {
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", "envoy-scraper/"+version.Version)
	if p == v1 {
		h.Set("Content-Type", "application/x-protobuf")
		h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		return
	}
	h.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
}

// withoutURL takes the address out of an error: it may hold credentials.
func withoutURL(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		if inner := u.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

// dialAnyAddress connects to a random one of the addresses that a name has (round_robin_dns).
func dialAnyAddress(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil || len(addrs) == 0 {
		return nil, fmt.Errorf("look up %s: %w", host, err)
	}
	at := addrs[rand.IntN(len(addrs))] //nolint:gosec // spreading load needs no secrecy
	return d.DialContext(ctx, network, net.JoinHostPort(at, port))
}
