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

// maxHeadBytes bounds what is read of an answer before its body begins.
const maxHeadBytes = 1 << 20

// readAheadBytes is how much an exchange reads at once of heads and of small chunks; longer stretches of a body go
// from the socket to who reads it. A sidecar's proxy passes its pages on in chunks of some 16 KB.
const readAheadBytes = 32 << 10

// errHandOver is a request that net/http shall make instead.
var errHandOver = errors.New("not a plain request")

// plain asks targets over HTTP/1.1 on connections that cost nothing but their descriptor between scrapes:
// net/http keeps two goroutines and their buffers for each, and wakes both for every request. It is for targets
// of a job without TLS, proxy or credentials; what it does not do itself, a redirect included, is net/http's.
// Safe for concurrent use.
type plain struct {
	dial      dialFunc
	request   func(context.Context, *target) (*http.Request, error)
	memory    *pageMemory
	idle      conns
	exchanges sync.Pool // of *exchange
}

// isPlain tells whether a job's requests need nothing but a connection.
func isPlain(cfg config_util.HTTPClientConfig) bool {
	return cfg.BasicAuth == nil && cfg.Authorization == nil && cfg.OAuth2 == nil && cfg.BearerToken == "" &&
		cfg.BearerTokenFile == "" && cfg.HTTPHeaders == nil && cfg.ProxyURL.URL == nil && !cfg.ProxyFromEnvironment
}

func newPlain(dial dialFunc, request func(context.Context, *target) (*http.Request, error), memory *pageMemory) *plain {
	p := &plain{dial: dial, request: request, memory: memory}
	p.exchanges.New = func() any {
		x := &exchange{plain: p}
		x.in = bufio.NewReaderSize(&x.source, readAheadBytes)
		return x
	}
	return p
}

// ask sends a target's request and reads the answer up to its body, which the caller reads and closes. An
// error is errHandOver or a failed scrape, in net/http's words.
func (p *plain) ask(ctx context.Context, t *target) (answer, error) {
	x, err := p.exchange(ctx, t)
	switch {
	case errors.Is(err, errHandOver):
		return answer{}, err
	case err != nil:
		return answer{}, &url.Error{Op: "Get", URL: t.url, Err: err}
	case isRedirect(x.answer.code):
		_ = x.Close()
		return answer{}, errHandOver
	}
	return x.answer, nil
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// exchange tries a connection that was kept, then a new one.
func (p *plain) exchange(ctx context.Context, t *target) (*exchange, error) {
	if !strings.HasPrefix(t.url, "http://") {
		return nil, errHandOver
	}
	if c := p.idle.take(t.hostPort); c != nil {
		x, err := p.on(ctx, c, t)
		if !errors.Is(err, errGone) {
			return x, err
		}
	}
	c := &conn{addr: t.hostPort}
	if !p.render(c, t) {
		return nil, errHandOver
	}
	var err error
	if c.Conn, err = p.dial(context.WithValue(ctx, asking{}, t), "tcp", t.hostPort); err != nil {
		return nil, because(ctx, err)
	}
	return p.on(ctx, c, t)
}

// render writes the request that c will send, unless it is what c has sent before. false: not a plain request.
func (p *plain) render(c *conn, t *target) bool {
	if c.url == t.url && c.timeout == t.timeout {
		return true
	}
	req, err := p.request(context.Background(), t)
	if err != nil || req.URL.User != nil || !isASCII(req.URL.Host) {
		return false
	}
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return false
	}
	c.url, c.timeout, c.request = t.url, t.timeout, bytes.Clone(b.Bytes())
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

// because returns the reason for which ctx ended, if it did, else err.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// errGone is a kept connection that turned out to be closed before it answered: worth a second try.
var errGone = errors.New("connection closed while idle")

// on asks over c, which is the exchange's from here on. The exchange, with its buffers, begins with the first byte of
// the answer: a scrape that waits for it holds a goroutine and a connection.
func (p *plain) on(ctx context.Context, c *conn, t *target) (*exchange, error) {
	if !p.render(c, t) {
		_ = c.Close()
		return nil, errHandOver
	}
	stop := func() { _ = c.SetDeadline(time.Unix(1, 0)) }
	unhook := context.AfterFunc(ctx, stop)
	var x *exchange
	begun := false
	defer func() { // after an error, and after a panic
		switch {
		case begun:
		case x != nil:
			x.keep = false
			_ = x.Close()
		default:
			unhook()
			_ = c.Close()
		}
	}()
	l, first, err := p.awaitAnswer(ctx, c, stop)
	if err != nil {
		return nil, err
	}
	x = p.exchanges.Get().(*exchange)
	x.begin(ctx, c, first)
	x.unhook, x.lease = unhook, l
	if err := x.readHead(); err != nil {
		return nil, l.because(because(ctx, err))
	}
	begun = true
	return x, nil
}

// awaitAnswer sends the request of c, waits for the first byte of the answer, and then for memory. stop ends what waits
// for c.
func (p *plain) awaitAnswer(ctx context.Context, c *conn, stop func()) (l *lease, first byte, err error) {
	proven := c.used
	first, err = c.ask()
	if err != nil {
		if c.used && ctx.Err() == nil {
			return nil, 0, errGone
		}
		return nil, 0, because(ctx, err)
	}
	c.used = true
	l, err = p.memory.take(ctx, proven, stop)
	return l, first, err
}

// exchange is one request and its answer. It holds the buffers that an idle connection does without, and comes
// from a pool.
type exchange struct {
	plain  *plain
	ctx    context.Context
	unhook func() bool // ends the watch over ctx; false: ctx ended before
	lease  *lease
	source source
	in     *bufio.Reader // of source
	answer answer
	body   io.Reader
	framed framed
	whole  bool // the body was read to its end
	keep   bool // what was read allows another request on the connection
}

// source is a connection being read, with a bound.
type source struct {
	conn  *conn
	left  int64
	first byte // of the answer
	ahead bool // first is still to be given out
}

func (s *source) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", maxHeadBytes)
	}
	if int64(len(p)) > s.left {
		p = p[:s.left]
	}
	n := 0
	if s.ahead {
		p[0], s.ahead, n = s.first, false, 1
	}
	read, err := s.conn.Read(p[n:])
	n += read
	s.left -= int64(n)
	return n, err
}

func (x *exchange) begin(ctx context.Context, c *conn, first byte) {
	x.ctx, x.source = ctx, source{conn: c, left: maxHeadBytes, first: first, ahead: true}
	x.in.Reset(&x.source)
	x.whole, x.keep = false, true
}

// readHead reads up to the body. net/http does it, but for the form that nearly every answer has.
func (x *exchange) readHead() error {
	_, _ = x.in.Peek(1) // reads what is there; if that fails, readResponse says so
	buffered, _ := x.in.Peek(x.in.Buffered())
	if h, n := parseHead(buffered); n > 0 {
		_, _ = x.in.Discard(n)
		x.framed.begin(x.in, h)
		x.body = &x.framed
		x.answer.code, x.answer.status = http.StatusOK, "200 OK"
		x.answer.contentType = again(x.answer.contentType, h.contentType)
		x.answer.encoding = again(x.answer.encoding, h.encoding)
	} else {
		resp, err := x.readResponse()
		if err != nil {
			return err
		}
		x.body = resp.Body
		x.whole = resp.Body == http.NoBody
		x.keep = !resp.Close && resp.StatusCode >= http.StatusOK
		x.answer = answerOf(resp)
	}
	x.answer.body, x.answer.lease = x, x.lease
	x.source.left = math.MaxInt64
	return nil
}

// again returns b as a string: s, if it is the same.
func again(s string, b []byte) string {
	if s == string(b) {
		return s
	}
	return string(b)
}

func (x *exchange) readResponse() (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(x.in, nil)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= http.StatusOK || resp.StatusCode < http.StatusContinue || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
}

// Read reads the body.
func (x *exchange) Read(p []byte) (int, error) {
	if x.whole {
		return 0, io.EOF
	}
	n, err := x.body.Read(p)
	if err == io.EOF {
		x.whole = true
	} else if err != nil {
		err = because(x.ctx, err)
	}
	return n, err
}

// Close ends the exchange, once. A connection that is in order is kept.
func (x *exchange) Close() error {
	c := x.source.conn
	running, whole := x.unhook(), x.lease.end()
	if running && whole && x.keep && x.whole && !x.framed.trailed && x.in.Buffered() == 0 {
		x.plain.idle.put(c)
	} else {
		_ = c.Close()
	}
	x.ctx, x.unhook, x.lease, x.source.conn, x.body, x.answer.body, x.answer.lease = nil, nil, nil, nil, nil, nil, nil
	x.framed.end()
	x.plain.exchanges.Put(x)
	return nil
}
