package scrape

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	config_util "github.com/prometheus/common/config"

	"github.com/envoy-scraper/envoy-scraper/internal/rawsocket"
)

// maxHeaderBytes limits the status line and header of a response.
const maxHeaderBytes = 1 << 20

// bufferBytes is the size of the buffer for a response. Its page is parsed in there, see inbuf.
const bufferBytes = 64 << 10

// errUseNetHTTP says that net/http must send this request instead.
var errUseNetHTTP = errors.New("not a plain request")

// plainClient sends HTTP/1.1 requests without TLS, proxy or credentials. Between scrapes its connections hold a file
// descriptor and little memory. net/http would keep two goroutines and their buffers for each connection, and wake both
// for every request. The client returns errUseNetHTTP for all that it does not do itself, such as redirects. Safe for
// concurrent use.
type plainClient struct {
	dial      dialFunc
	request   func(context.Context, *target, ask) (*http.Request, error)
	memory    *pageMemory
	idle      idleConns
	exchanges sync.Pool // of *exchange
	buffers   sync.Pool // of *[]byte, bufferBytes long
}

// canUsePlainClient reports whether a job's requests need no credentials, headers of their own or proxy.
func canUsePlainClient(cfg config_util.HTTPClientConfig) bool {
	return cfg.BasicAuth == nil && cfg.Authorization == nil && cfg.OAuth2 == nil && cfg.BearerToken == "" &&
		cfg.BearerTokenFile == "" && cfg.HTTPHeaders == nil && cfg.ProxyURL.URL == nil && !cfg.ProxyFromEnvironment
}

func newPlainClient(dial dialFunc, request func(context.Context, *target, ask) (*http.Request, error),
	memory *pageMemory) *plainClient {
	p := &plainClient{dial: dial, request: request, memory: memory}
	p.exchanges.New = func() any {
		x := &exchange{plain: p}
		x.source.io.init()
		return x
	}
	p.buffers.New = func() any { b := make([]byte, bufferBytes); return &b }
	return p
}

// get sends a target's request and reads the response header. The caller reads and closes the body. The error is
// errUseNetHTTP, or why the scrape failed, with the text that net/http would give.
func (p *plainClient) get(ctx context.Context, t *target, a ask) (response, error) {
	x, err := p.send(ctx, t, a)
	switch {
	case errors.Is(err, errUseNetHTTP):
		return response{}, err
	case err != nil:
		return response{}, &url.Error{Op: "Get", URL: t.url, Err: err}
	case isRedirect(x.response.code):
		_ = x.Close()
		return response{}, errUseNetHTTP
	}
	return x.response, nil
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// send sends the request over an idle connection if there is one. If that turns out to be closed, or there is none,
// send dials a new one.
func (p *plainClient) send(ctx context.Context, t *target, a ask) (*exchange, error) {
	if !strings.HasPrefix(t.url, "http://") {
		return nil, errUseNetHTTP
	}
	if c := p.idle.take(t.hostPort); c != nil {
		x, err := p.sendOn(ctx, c, t, a)
		if !errors.Is(err, errClosedWhileIdle) {
			return x, err
		}
	}
	c := &conn{addr: t.hostPort}
	if !p.encodeRequest(c, t, a) {
		return nil, errUseNetHTTP
	}
	var err error
	if c.Conn, err = p.dial(context.WithValue(ctx, targetKey{}, t), "tcp", t.hostPort); err != nil {
		return nil, causeOr(ctx, err)
	}
	c.raw, c.abort = rawsocket.RawConnOf(c.Conn), func() { _ = c.SetDeadline(time.Unix(1, 0)) }
	return p.sendOn(ctx, c, t, a)
}

// encodeRequest sets c.request, unless it holds the request for t already. It returns false if net/http must send the
// request.
func (p *plainClient) encodeRequest(c *conn, t *target, a ask) bool {
	if c.url == t.url && c.ask == a && c.timeout == t.timeout {
		return true
	}
	req, err := p.request(context.Background(), t, a)
	if err != nil || req.URL.User != nil || !isASCII(req.URL.Host) {
		return false
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return false
	}
	c.url, c.ask, c.timeout, c.request = t.url, a, t.timeout, bytes.Clone(b.Bytes())
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// causeOr returns the cause of the end of ctx, or err if ctx has not ended.
func causeOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// errClosedWhileIdle says that an idle connection was closed by the target before any byte of a response came, or that
// the target sent bytes on it that nobody asked for. The request is sent again on a new connection.
var errClosedWhileIdle = errors.New("connection closed while idle")

// sendOn sends the request over c and takes ownership of c. The buffer is taken from the pool when the first byte of
// the response has come. Until then a scrape holds only a goroutine, a connection and an exchange without a buffer.
func (p *plainClient) sendOn(ctx context.Context, c *conn, t *target, a ask) (*exchange, error) {
	if !p.encodeRequest(c, t, a) {
		_ = c.Close()
		return nil, errUseNetHTTP
	}
	x := p.exchanges.Get().(*exchange)
	x.begin(ctx, c)
	succeeded := false
	defer func() { // after an error, and after a panic
		if !succeeded {
			x.reusable = false
			_ = x.Close()
		}
	}()
	first, err := x.awaitResponse()
	if err != nil {
		return nil, err
	}
	x.takeBuffer(first)
	if err := x.readHeader(); err != nil {
		return nil, x.lease.explain(x.cause(err))
	}
	succeeded = true
	return x, nil
}

// exchange is one request and its response. It comes from a pool.
type exchange struct {
	plain     *plainClient
	ctx       context.Context
	stopAbort func() bool // the end of the process no longer aborts; false: it has ended already
	lease     *lease
	source    connReader
	in        inbuf   // reads source
	pooled    *[]byte // the buffer of in, from the pool; nil: it has none
	response  response
	body      io.Reader
	framed    framedBody
	odd       *bufio.Reader // net/http reads the response from it, and it reads in; nil: parseHeader parsed the header
	complete  bool          // the body was read to its end
	reusable  bool          // by its header and framing, the connection can take another request
}

// connReader reads at most left bytes of a connection.
type connReader struct {
	conn *conn
	io   rawIO
	left int64
	late bool // the connection has reached its deadline
}

func (s *connReader) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", maxHeaderBytes)
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n, err := s.io.read(s.conn, p)
	s.left -= int64(n)
	s.late = s.late || err != nil && errors.Is(err, os.ErrDeadlineExceeded)
	return n, err
}

// begin prepares for a request over c.
func (x *exchange) begin(ctx context.Context, c *conn) {
	x.ctx, x.source.conn, x.source.left = ctx, c, maxHeaderBytes
	x.complete, x.reusable, x.source.late = false, true, false
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	x.stopAbort = context.AfterFunc(processOf(ctx), c.abort)
}

// cause returns the cause of the end of ctx, or err if ctx has not ended. The deadline of the connection, which is that
// of ctx, may come a moment earlier.
func (x *exchange) cause(err error) error {
	late := x.source.late || errors.Is(err, os.ErrDeadlineExceeded)
	if _, limited := x.ctx.Deadline(); limited && late && x.ctx.Err() == nil {
		return context.DeadlineExceeded
	}
	return causeOr(x.ctx, err)
}

// awaitResponse sends the request, waits for the first byte of the response, and then for memory.
func (x *exchange) awaitResponse() (first byte, err error) {
	c, hadResponse, timer := x.source.conn, x.source.conn.used, answerTimerOf(x.ctx)
	timer.note(requestSent)
	first, err = x.source.io.ask(c)
	if err != nil {
		err = x.cause(err)
		if c.used && x.ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return 0, errClosedWhileIdle
		}
		return 0, err
	}
	timer.note(firstByte)
	c.used = true
	x.lease, err = x.plain.memory.take(x.ctx, hadResponse, c.abort)
	timer.note(bodyRead)
	return first, err
}

// takeBuffer takes a buffer for the response, which begins with first.
func (x *exchange) takeBuffer(first byte) {
	x.pooled = x.plain.buffers.Get().(*[]byte)
	x.in = inbuf{from: &x.source, buf: *x.pooled, filled: 1}
	x.in.buf[0] = first
}

// readHeader reads the status line and the header. parseHeader reads the form that nearly every response has, net/http
// the others.
func (x *exchange) readHeader() error {
	_ = x.in.fill() // readResponse reports an error
	if h, n := parseHeader(x.in.unseen()); n > 0 {
		x.in.start, x.in.end, x.in.next = n, n, n
		x.framed.reset(&x.in, h)
		x.body = &x.framed
		x.response.code, x.response.status = http.StatusOK, "200 OK"
		x.response.contentType = reuseString(x.response.contentType, h.contentType)
		x.response.encoding = reuseString(x.response.encoding, h.encoding)
		x.response.pieces = x
	} else {
		x.odd = bufio.NewReader(&x.in)
		resp, err := x.readResponse()
		if err != nil {
			return err
		}
		x.body = resp.Body
		x.complete = resp.Body == http.NoBody
		x.reusable = !resp.Close && resp.StatusCode >= http.StatusOK
		x.response = responseOf(resp)
	}
	x.response.body, x.response.lease = x, x.lease
	x.source.left = math.MaxInt64
	return nil
}

// reuseString returns string(b). It allocates nothing if that is s.
func reuseString(s string, b []byte) string {
	if s == string(b) {
		return s
	}
	return string(b)
}

// readResponse returns the first response that is not informational (100 Continue, 103 Early Hints).
func (x *exchange) readResponse() (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(x.odd, nil)
		if err != nil {
			return nil, err
		}
		informational := resp.StatusCode >= http.StatusContinue && resp.StatusCode < http.StatusOK
		if !informational || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
}

// Read reads the body.
func (x *exchange) Read(p []byte) (int, error) {
	if x.complete {
		return 0, io.EOF
	}
	n, err := x.body.Read(p)
	return n, x.note(err)
}

// More implements exposition.Pieces. It is called only if parseHeader parsed the header.
func (x *exchange) More(keep, least int) ([]byte, error) {
	if x.complete {
		x.in.start = x.in.end - keep
		return x.in.text(), io.EOF
	}
	text, err := x.framed.More(keep, least)
	return text, x.note(err)
}

// note notes an error of reading the body, which it returns.
func (x *exchange) note(err error) error {
	if err == io.EOF {
		x.complete = true
	} else if err != nil {
		err = x.cause(err)
	}
	return err
}

// Close ends the exchange and is called once. It keeps the connection if another request can be sent on it.
func (x *exchange) Close() error {
	c := x.source.conn
	aborted := !x.stopAbort() || x.ctx.Err() != nil
	stalled := !x.lease.end()
	x.source.io.end()
	if !aborted && !stalled && x.reusable && x.complete && !x.framed.trailed && x.behind() == 0 {
		_ = c.SetDeadline(time.Time{})
		x.plain.idle.put(c)
	} else {
		_ = c.Close()
	}
	if x.pooled != nil {
		x.plain.buffers.Put(x.pooled)
	}
	x.ctx, x.stopAbort, x.lease, x.source.conn, x.body, x.odd = nil, nil, nil, nil, nil, nil
	x.in, x.pooled, x.framed = inbuf{}, nil, framedBody{}
	x.response.body, x.response.pieces, x.response.lease = nil, nil, nil
	x.plain.exchanges.Put(x)
	return nil
}

// behind returns how many bytes were read that follow the response.
func (x *exchange) behind() int {
	if x.odd != nil {
		return x.odd.Buffered() + len(x.in.unseen())
	}
	return x.framed.behind()
}
