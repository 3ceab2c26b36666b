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
	"strings"
	"sync"
	"time"

	config_util "github.com/prometheus/common/config"
)

// maxHeaderBytes limits the status line and header of a response.
const maxHeaderBytes = 1 << 20

// readAheadBytes is the size of an exchange's read buffer, for headers and small chunks. Longer reads of the body
// bypass the buffer. Envoy sends its pages in chunks of about 16 KB.
const readAheadBytes = 32 << 10

// errUseNetHTTP says that net/http must send this request instead.
var errUseNetHTTP = errors.New("not a plain request")

// plainClient sends HTTP/1.1 requests without TLS, proxy or credentials. Between scrapes its connections hold a file
// descriptor and little memory. net/http would keep two goroutines and their buffers for each connection, and wake both
// for every request. The client returns errUseNetHTTP for all that it does not do itself, such as redirects. Safe for
// concurrent use.
type plainClient struct {
	dial      dialFunc
	request   func(ctx context.Context, t *target, param string) (*http.Request, error)
	memory    *pageMemory
	idle      idleConns
	exchanges sync.Pool // of *exchange
}

// canUsePlainClient reports whether a job's requests need no credentials, headers of their own or proxy.
func canUsePlainClient(cfg config_util.HTTPClientConfig) bool {
	return cfg.BasicAuth == nil && cfg.Authorization == nil && cfg.OAuth2 == nil && cfg.BearerToken == "" &&
		cfg.BearerTokenFile == "" && cfg.HTTPHeaders == nil && cfg.ProxyURL.URL == nil && !cfg.ProxyFromEnvironment
}

func newPlainClient(dial dialFunc, request func(context.Context, *target, string) (*http.Request, error),
	memory *pageMemory) *plainClient {
	p := &plainClient{dial: dial, request: request, memory: memory}
	p.exchanges.New = func() any {
		x := &exchange{plain: p}
		x.in = bufio.NewReaderSize(&x.source, readAheadBytes)
		return x
	}
	return p
}

// get sends a target's request, with one more parameter unless param is empty, and reads the response header. The
// caller reads and closes the body. The error is errUseNetHTTP, or why the scrape failed, with the text that net/http
// would give.
func (p *plainClient) get(ctx context.Context, t *target, param string) (response, error) {
	x, err := p.send(ctx, t, param)
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
func (p *plainClient) send(ctx context.Context, t *target, param string) (*exchange, error) {
	if !strings.HasPrefix(t.url, "http://") {
		return nil, errUseNetHTTP
	}
	if c := p.idle.take(t.hostPort); c != nil {
		x, err := p.sendOn(ctx, c, t, param)
		if !errors.Is(err, errClosedWhileIdle) {
			return x, err
		}
	}
	c := &conn{addr: t.hostPort}
	if !p.encodeRequest(c, t, param) {
		return nil, errUseNetHTTP
	}
	var err error
	if c.Conn, err = p.dial(context.WithValue(ctx, targetKey{}, t), "tcp", t.hostPort); err != nil {
		return nil, causeOr(ctx, err)
	}
	return p.sendOn(ctx, c, t, param)
}

// encodeRequest sets c.request, unless it holds the request for t already. It returns false if net/http must send the
// request.
func (p *plainClient) encodeRequest(c *conn, t *target, param string) bool {
	if c.url == t.url && c.param == param && c.timeout == t.timeout {
		return true
	}
	req, err := p.request(context.Background(), t, param)
	if err != nil || req.URL.User != nil || !isASCII(req.URL.Host) {
		return false
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return false
	}
	c.url, c.param, c.timeout, c.request = t.url, param, t.timeout, bytes.Clone(b.Bytes())
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

// errClosedWhileIdle says that an idle connection was closed by the target before any byte of a response came. The
// request is sent again on a new connection. Most closed connections are noticed earlier, by idleConns.take.
var errClosedWhileIdle = errors.New("connection closed while idle")

// sendOn sends the request over c and takes ownership of c. The exchange and its buffers are taken from the pool when
// the first byte of the response has come. Until then a scrape holds only a goroutine and a connection.
func (p *plainClient) sendOn(ctx context.Context, c *conn, t *target, param string) (*exchange, error) {
	if !p.encodeRequest(c, t, param) {
		_ = c.Close()
		return nil, errUseNetHTTP
	}
	abort := func() { _ = c.SetDeadline(time.Unix(1, 0)) }
	stopAbort := context.AfterFunc(ctx, abort)
	var x *exchange
	succeeded := false
	defer func() { // after an error, and after a panic
		switch {
		case succeeded:
		case x != nil:
			x.reusable = false
			_ = x.Close()
		default:
			stopAbort()
			_ = c.Close()
		}
	}()
	l, first, err := p.awaitResponse(ctx, c, abort)
	if err != nil {
		return nil, err
	}
	x = p.exchanges.Get().(*exchange)
	x.reset(ctx, c, first)
	x.stopAbort, x.lease = stopAbort, l
	if err := x.readHeader(); err != nil {
		return nil, l.explain(causeOr(ctx, err))
	}
	succeeded = true
	return x, nil
}

// awaitResponse sends the request of c, waits for the first byte of the response, and then for memory. abort ends the
// reads and writes of c.
func (p *plainClient) awaitResponse(ctx context.Context, c *conn, abort func()) (l *lease, first byte, err error) {
	hadResponse, timer := c.used, answerTimerOf(ctx)
	timer.note(requestSent)
	first, err = c.send()
	if err != nil {
		if c.used && ctx.Err() == nil {
			return nil, 0, errClosedWhileIdle
		}
		return nil, 0, causeOr(ctx, err)
	}
	timer.note(firstByte)
	c.used = true
	l, err = p.memory.take(ctx, hadResponse, abort)
	timer.note(bodyRead)
	return l, first, err
}

// exchange is one request and its response. It holds the buffers for reading the response and comes from a pool. An
// idle connection has no buffers.
type exchange struct {
	plain     *plainClient
	ctx       context.Context
	stopAbort func() bool // the end of ctx no longer aborts; false: ctx has ended already
	lease     *lease
	source    connReader
	in        *bufio.Reader // reads source
	response  response
	body      io.Reader
	framed    framedBody
	complete  bool // the body was read to its end
	reusable  bool // by its header and framing, the connection can take another request
}

// connReader reads at most left bytes of a connection. The first byte of the response was read before, and is given out
// first.
type connReader struct {
	conn      *conn
	left      int64
	first     byte
	haveFirst bool // first has not been given out
}

func (s *connReader) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", maxHeaderBytes)
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n := 0
	if s.haveFirst {
		p[0], s.haveFirst, n = s.first, false, 1
	}
	read, err := s.conn.Read(p[n:])
	n += read
	s.left -= int64(n)
	return n, err
}

func (x *exchange) reset(ctx context.Context, c *conn, first byte) {
	x.ctx, x.source = ctx, connReader{conn: c, left: maxHeaderBytes, first: first, haveFirst: true}
	x.in.Reset(&x.source)
	x.complete, x.reusable = false, true
}

// readHeader reads the status line and the header. parseHeader reads the form that nearly every response has, net/http
// the others.
func (x *exchange) readHeader() error {
	_, _ = x.in.Peek(1) // fills the buffer; readResponse reports an error
	buffered, _ := x.in.Peek(x.in.Buffered())
	if h, n := parseHeader(buffered); n > 0 {
		_, _ = x.in.Discard(n)
		x.framed.reset(x.in, h)
		x.body = &x.framed
		x.response.code, x.response.status = http.StatusOK, "200 OK"
		x.response.contentType = reuseString(x.response.contentType, h.contentType)
		x.response.encoding = reuseString(x.response.encoding, h.encoding)
	} else {
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
		resp, err := http.ReadResponse(x.in, nil)
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
	if err == io.EOF {
		x.complete = true
	} else if err != nil {
		err = causeOr(x.ctx, err)
	}
	return n, err
}

// Close ends the exchange and is called once. It keeps the connection if another request can be sent on it.
func (x *exchange) Close() error {
	c := x.source.conn
	aborted := !x.stopAbort()
	stalled := !x.lease.end()
	if !aborted && !stalled && x.reusable && x.complete && !x.framed.trailed && x.in.Buffered() == 0 {
		x.plain.idle.put(c)
	} else {
		_ = c.Close()
	}
	x.ctx, x.stopAbort, x.lease, x.source.conn, x.body = nil, nil, nil, nil, nil
	x.response.body, x.response.lease = nil, nil
	x.framed = framedBody{}
	x.plain.exchanges.Put(x)
	return nil
}
