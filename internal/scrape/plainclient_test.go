package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
)

func TestPlainRequestsEqualThoseOfNetHTTP(t *testing.T) {
	w := startRawServer(t, respond(okResponse))
	for name, change := range map[string]func(*target){
		"usual":       func(*target) {},
		"parameters":  func(tg *target) { tg.url += "?filter=istio.%2A&usedonly=&filter=b" },
		"root":        func(tg *target) { tg.url = "http://" + w.host },
		"query alone": func(tg *target) { tg.url = "http://" + w.host + "?a=b" },
		"odd path":    func(tg *target) { tg.url = "http://" + w.host + "/a%20b/ä/%2F//c" },
		"timeout":     func(tg *target) { tg.timeout = 2500 * time.Millisecond },
		"name":        func(tg *target) { tg.url = "http://LOCALHOST:1/x" },
	} {
		tg := w.target()
		change(tg)
		before := len(w.received)
		getOKPage(t, plainFetcher(t), tg)
		if name != "name" { // net/http would resolve the name
			getOKPage(t, netHTTPFetcher(t), tg)
			if got, want := w.received[before], w.received[before+1]; got != want {
				t.Errorf("%s: request\n%s\nof net/http\n%s", name, got, want)
			}
		} else if !strings.Contains(w.received[before], "\r\nHost: LOCALHOST:1\r\n") {
			t.Errorf("request\n%s", w.received[before])
		}
	}
}

func TestPlainClientReadsResponsesLikeNetHTTP(t *testing.T) {
	silenceLog(t)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("x 1\n"))
	_ = z.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	const length = "Content-Length: 4\r\n"
	for name, c := range map[string]struct {
		response string
		err      string // part of it
		closed   bool   // the connection must not be kept
	}{
		"chunks":         {response: okResponse},
		"several chunks": {response: head + "Transfer-Encoding: chunked\r\n\r\n" + chunks("x ", "1", "\n")},
		"Envoy's lower case": {response: "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: envoy\r\n" +
			"transfer-encoding: chunked\r\n\r\n" + chunks("x 1\n")},
		"length":       {response: head + length + "\r\nx 1\n"},
		"length twice": {response: head + length + length + "\r\nx 1\n"},
		"length and chunks": {response: head + "Content-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n" +
			chunks("x 1\n")},
		"until closed":           {response: head + "\r\nx 1\n", closed: true},
		"connection: close":      {response: head + length + "Connection: close\r\n\r\nx 1\n", closed: true},
		"connection: keep-alive": {response: head + length + "Connection: Keep-Alive\r\n\r\nx 1\n"},
		"HTTP/1.0": {response: "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n" + length + "\r\nx 1\n",
			closed: true},
		"HTTP/1.0 keep-alive": {response: "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n" + length +
			"Connection: keep-alive\r\n\r\nx 1\n"},
		"hints before it": {response: "HTTP/1.1 100 Continue\r\n\r\n" +
			"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + okResponse},
		"a folded header": {response: head + "X-A: b\r\n c\r\n" + length + "\r\nx 1\n"},
		"bare newlines":   {response: strings.ReplaceAll(head+length+"\r\n", "\r\n", "\n") + "x 1\n"},
		"trailer": {response: head +
			"Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n", closed: true},
		"announced trailer": {response: head +
			"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n"},
		"compressed": {response: head + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" +
			chunks(zipped.String())},
		"bytes behind it": {response: okResponse + "HTTP/1.1 200 OK\r\n", closed: true},
		"a long header": {response: head + "X-A: " + strings.Repeat("a", 100<<10) + "\r\n" + length +
			"\r\nx 1\n"},
		"header too long": {response: head + "X-A: " + strings.Repeat("a", maxHeaderBytes) + "\r\n" + length +
			"\r\nx 1\n", err: "response headers exceeded", closed: true},
		"404": {response: "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
			err: "server returned HTTP status 404 Not Found"},
		"404 with a long body": {response: "HTTP/1.1 404 Not Found\r\n\r\n" + strings.Repeat("a", 2*maxDrainBytes),
			err: "server returned HTTP status 404", closed: true},
		"204": {response: "HTTP/1.1 204 No Content\r\n\r\n",
			err: "server returned HTTP status 204"},
		"302 without a Location": {response: "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
			err: "server returned HTTP status 302"},
		"garbage": {response: "\x16\x03\x01\x00\x00\r\n\r\n", err: "malformed HTTP response",
			closed: true},
		"garbage before it":        {response: "\r\n" + okResponse, err: "malformed HTTP response", closed: true},
		"nothing":                  {response: "", err: "EOF", closed: true},
		"half a header":            {response: "HTTP/1.1 200 OK\r\nContent-Ty", err: "missing colon", closed: true},
		"a header without a colon": {response: head + "nonsense\r\n\r\n", err: "malformed MIME header", closed: true},
		"a negative length": {response: head + "Content-Length: -1\r\n\r\n", err: "bad Content-Length",
			closed: true},
		"lengths differ": {response: head + length + "Content-Length: 5\r\n\r\nx 1\n",
			err: "multiple Content-Length", closed: true},
		"unknown encoding": {response: head + "Transfer-Encoding: gzip\r\n\r\n",
			err: "unsupported transfer encoding", closed: true},
		"half a body": {response: head + "Content-Length: 5\r\n\r\nx 1\n", err: "unexpected EOF",
			closed: true},
		"a chunk breaks off": {response: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nx 1\n", err: "unexpected EOF",
			closed: true},
		"no last chunk": {response: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n", err: "EOF",
			closed: true},
		"no end of the chunks": {response: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n",
			err: "unexpected EOF reading trailer", closed: true},
		"half a trailer": {response: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n",
			err: "trailer", closed: true},
		"a bad chunk": {response: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nx 1\n\r\n0\r\n\r\n",
			err: "invalid byte in chunk length", closed: true},
		"a huge chunk": {response: head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
			err: "chunk length too large", closed: true},
		"not compressed": {response: head + "Content-Encoding: gzip\r\n" + length + "\r\nx 1\n", err: "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			talk := func(_ int, r *serverConn) {
				if r.readRequest() {
					r.send(c.response)
					if c.err == "" && !c.closed { // otherwise the response ends with the connection
						r.wait()
					}
				}
			}
			f := plainFetcher(t)
			got := getPage(t.Context(), f, startRawServer(t, talk).target())
			want := getPage(t.Context(), netHTTPFetcher(t), startRawServer(t, talk).target())
			if got.body != want.body || got.contentType != want.contentType || (got.err == "") != (want.err == "") {
				t.Errorf("got      %q\nnet/http %q", got, want)
			}
			if !strings.Contains(got.err, c.err) || (c.err == "") != (got.err == "") ||
				!strings.Contains(want.err, c.err) {
				t.Errorf("error %q, net/http's %q, want %q", got.err, want.err, c.err)
			}
			if c.err == "" && got.body != "x 1\n" {
				t.Errorf("body %q", got.body)
			}
			if kept := f.idleCount() == 1; kept && c.closed || !kept && !c.closed && c.err == "" {
				t.Errorf("connection kept: %v", kept)
			}
		})
	}
}

func TestPlainClientReusesTheConnection(t *testing.T) {
	w := startRawServer(t, respond(okResponse))
	f := plainFetcher(t)
	for range 5 {
		getOKPage(t, f, w.target())
	}
	other := w.target()
	other.url += "?other"
	getOKPage(t, f, other)
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := len(w.received); n != 6 || !strings.Contains(w.received[5], "?other") {
		t.Errorf("%d requests, the last\n%s", n, w.received[n-1])
	}
	f.close()
	eventually(t, "the connection is closed", func() bool { return w.open.Load() == 0 })
	getOKPage(t, f, other)
	eventually(t, "a connection that is returned after close is closed", func() bool { return w.open.Load() == 0 })
}

func TestPlainClientReplacesAConnectionThatEndedWhileIdle(t *testing.T) {
	for name, c := range map[string]struct {
		first func(*serverConn) // after the first response
		early bool              // wait until the client can notice
	}{
		"closed": {first: func(*serverConn) {}, early: true},
		"closed with a 408": {first: func(r *serverConn) {
			r.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
		}, early: true},
		"another response": {first: func(r *serverConn) {
			r.send(strings.Replace(okResponse, "x 1", "y 2", 1))
			r.wait()
		}, early: true},
		"closed after the request": {first: func(r *serverConn) { r.readRequest() }},
		"reset after the request": {first: func(r *serverConn) {
			r.readRequest()
			_ = r.Conn.(*net.TCPConn).SetLinger(0)
		}},
		"reset within the request": {first: func(r *serverConn) {
			_,
				_ = r.in.ReadByte()
			_ = r.Conn.(*net.TCPConn).SetLinger(0)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			idle := make(chan struct{})
			w := startRawServer(t, func(n int, r *serverConn) {
				if r.readRequest() {
					r.send(okResponse)
					if n == 0 {
						<-idle
						c.first(r)
					} else {
						r.wait()
					}
				}
			})
			f := plainFetcher(t)
			getOKPage(t, f, w.target())
			first := f.onlyIdleConn(t)
			close(idle)
			if c.early {
				eventually(t, "the connection is not reusable", func() bool { return !isReusable(first.Conn) })
			}
			getOKPage(t, f, w.target())
			if n := w.accepted.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
			f.close()
			eventually(t, "both are closed", func() bool { return w.open.Load() == 0 })
		})
	}
}

func TestPlainClientRetriesOnOneNewConnection(t *testing.T) {
	w := startRawServer(t, func(n int, r *serverConn) {
		if r.readRequest() && n == 0 {
			r.send(okResponse)
			r.readRequest()
		}
	})
	f := plainFetcher(t)
	getOKPage(t, f, w.target())
	if s := getPage(t.Context(), f, w.target()); !strings.Contains(s.err, "EOF") {
		t.Errorf("got %q", s)
	}
	if n := w.accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestPlainClientDoesNotRetryAfterTheResponseBegan(t *testing.T) {
	w := startRawServer(t, func(_ int, r *serverConn) {
		if r.readRequest() {
			r.send(okResponse)
			if r.readRequest() {
				r.send("HTTP/1.1 200")
			}
		}
	})
	f := plainFetcher(t)
	getOKPage(t, f, w.target())
	if s := getPage(t.Context(), f, w.target()); !strings.Contains(s.err, "EOF") {
		t.Errorf("got %q", s)
	}
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestPlainClientStopsWhenTheContextEnds(t *testing.T) {
	for name, before := range map[string]string{
		"no response": "", "within the header": "HTTP/1.1 200 OK\r\nCont", "within the body": okResponse[:len(
			okResponse)-7],
	} {
		t.Run(name, func(t *testing.T) {
			w := startRawServer(t, func(_ int, r *serverConn) {
				if r.readRequest() {
					r.send(before)
					r.wait()
				}
			})
			f := plainFetcher(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if s := getPage(ctx, f, w.target()); !strings.HasSuffix(s.err, "context deadline exceeded") {
				t.Errorf("error %q", s.err)
			}
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				for len(w.requests()) < 2 {
					<-time.After(time.Millisecond)
				}
				stop()
			}()
			if s := getPage(ctx, f, w.target()); !strings.HasSuffix(s.err, "context canceled") {
				t.Errorf("error %q", s.err)
			}
			if f.idleCount() != 0 {
				t.Error("a connection was kept in the middle of a response")
			}
			eventually(t, "both are closed", func() bool { return w.open.Load() == 0 })
		})
	}
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s := getPage(ctx, plainFetcher(t), startRawServer(t, respond(okResponse)).target()); !strings.HasSuffix(
			s.err, "context canceled") {
			t.Errorf("error %q", s.err)
		}
	})
	t.Run("between scrapes", func(t *testing.T) {
		w, f := startRawServer(t, respond(okResponse)), plainFetcher(t)
		ctx, cancel := context.WithCancel(t.Context())
		if s := getPage(ctx, f, w.target()); s.err != "" {
			t.Fatal(s.err)
		}
		cancel() // the scrape is over, so this must not affect the connection
		getOKPage(t, f, w.target())
		if n := w.accepted.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

func (w *rawServer) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received
}

func TestPlainClientStopsAtTheBodyLimit(t *testing.T) {
	sent := atomic.Int64{}
	w := startRawServer(t, func(_ int, r *serverConn) {
		if r.readRequest() {
			r.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
			n, _ := io.Copy(r, endless{})
			sent.Store(n)
		}
	})
	f := plainFetcher(t)
	f.bodyLimit = 1 << 20
	if s := getPage(t.Context(), f, w.target()); s.err != errBodyLimit.Error() || len(s.body) != 1<<20 {
		t.Errorf("%d bytes, error %q", len(s.body), s.err)
	}
	eventually(t, "the server notices", func() bool { return sent.Load() > 0 && w.open.Load() == 0 })
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestPlainClientReportsARefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	_ = l.Close()
	tg := &target{url: "http://" + host + "/x", hostPort: host, timeout: time.Second}
	got, want := getPage(t.Context(), plainFetcher(t), tg), getPage(t.Context(), netHTTPFetcher(t), tg)
	if got != want || !strings.Contains(got.err, "connection refused") {
		t.Errorf("got %q, net/http %q", got, want)
	}
}

func TestPlainClientLeavesRedirectsAndCredentialsToNetHTTP(t *testing.T) {
	target := startRawServer(t, respond(okResponse))
	w := startRawServer(t, func(_ int, r *serverConn) {
		for r.readRequest() {
			r.send("HTTP/1.1 302 Found\r\nLocation: http://" + target.host + "/there\r\nContent-Length: 0\r\n\r\n")
		}
	})
	f := plainFetcher(t)
	getOKPage(t, f, w.target())
	if heads := target.requests(); len(heads) != 1 || !strings.HasPrefix(heads[0], "GET /there ") {
		t.Errorf("requests to the redirect target: %q", heads)
	}

	f = plainFetcher(t)
	f.client.CheckRedirect = f.redirects(nil, true)
	moved := w.target()
	moved.url = strings.Replace(moved.url, "127.0.0.1", "localhost", 1)
	if s := getPage(t.Context(), f, moved); !strings.Contains(s.err, "redirect to another host") {
		t.Errorf("error %q", s.err)
	}

	secret := target.target()
	secret.url = "http://user:secret@" + target.host + "/x"
	f = plainFetcher(t)
	getOKPage(t, f, secret)
	if head := target.requests()[1]; !strings.Contains(head, "\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
		t.Errorf("request without credentials:\n%s", head)
	}
	if f.idleCount() != 0 {
		t.Error("plainClient sent a request with credentials")
	}
}

func TestJobsThatUseThePlainClient(t *testing.T) {
	for yaml, want := range map[string]bool{
		"": true,
		"  follow_redirects: false\n  enable_http2: false\n":                   true,
		"  tls_config: {insecure_skip_verify: true}\n":                         true, // applies to https only
		"  basic_auth: {username: a, password: b}\n":                           false,
		"  authorization: {credentials: a}\n":                                  false,
		"  bearer_token_file: /a\n":                                            false,
		"  oauth2: {client_id: a, client_secret: b, token_url: 'http://a/'}\n": false,
		"  proxy_url: http://a:1\n":                                            false,
		"  proxy_from_environment: true\n":                                     false,
		"  http_headers: {X-A: {values: [b]}}\n":                               false,
		"  http_headers: {X-A: {secrets: [b]}}\n":                              false,
		"  no_proxy: a\n  proxy_url: http://a:1\n":                             false,
	} {
		f, err := newFetcher(job(t, yaml), Options{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.plain != nil; got != want {
			t.Errorf("%q: plain %v", yaml, got)
		}
		f.close()
	}
}

// TestConcurrentPlainRequests: concurrent requests get their own pages, and every connection is closed in the end.
func TestConcurrentPlainRequests(t *testing.T) {
	page := func(n int) string { return strings.Repeat("x", n*1000) }
	var wires []*rawServer
	for n := range 8 {
		wires = append(wires, startRawServer(t, func(_ int, r *serverConn) {
			for turn := 0; r.readRequest(); turn++ {
				switch {
				case turn%7 == 5:
					return
				case turn%2 == 0:
					r.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" +
						chunks(page(n)+"\n", page(n)))
				default:
					r.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + page(n) + "\n" +
						page(n))
					return
				}
			}
		}))
	}
	f := plainFetcher(t)
	var all sync.WaitGroup
	for n, w := range wires {
		for range 2 {
			all.Go(func() {
				for range 50 {
					if s := getPage(t.Context(), f, w.target()); s.body != page(n)+"\n"+page(n) {
						t.Errorf("%d bytes, error %q", len(s.body), s.err)
					}
				}
			})
		}
	}
	all.Wait()
	f.close()
	for _, w := range wires {
		eventually(t, "all are closed", func() bool { return w.open.Load() == 0 })
	}
}

func TestPlainClientAllocations(t *testing.T) {
	w := startRawServer(t, func(_ int, r *serverConn) {
		response := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\nserver: envoy\r\n" +
			"transfer-encoding: chunked\r\n\r\n" + chunks(strings.Repeat("x", 1<<20)))
		buf := make([]byte, 4<<10)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
			if _, err := r.Write(response); err != nil {
				return
			}
		}
	})
	f, tg, buf := plainFetcher(t), w.target(), make([]byte, 64<<10)
	n := testing.AllocsPerRun(50, func() {
		ctx, cancel := context.WithTimeout(t.Context(), tg.timeout)
		defer cancel()
		p, err := f.get(ctx, tg, "")
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = p.body.Read(buf)
		}
		p.close()
	})
	if n > 20 {
		t.Errorf("%v allocations per page, want 20 at most", n)
	}
}

// TestAJobUsesThePlainClient: a job without credentials reuses its connections. They are closed with the target and
// with the job.
func TestAJobUsesThePlainClient(t *testing.T) {
	w := startRawServer(t, respond(okResponse))
	r := newRig()
	r.opts.transport = nil
	cfg := job(t, "  static_configs: [{targets: ['"+w.host+"']}]\n")
	if err := r.Apply([]*promconfig.ScrapeConfig{cfg}); err != nil {
		t.Fatal(err)
	}
	r.discover(at(w.host))
	f := r.jobs["envoy"].state.fetcher
	for range 2 {
		for _, l := range r.jobs["envoy"].loops {
			l.scrape(t.Context(), nil)
		}
	}
	if s := r.Status()[0].Targets[0]; s.Health != HealthUp || w.accepted.Load() != 1 || f.idleCount() != 1 {
		t.Errorf("%v %q, %d connections, %d idle", s.Health, s.Err, w.accepted.Load(), f.idleCount())
	}
	for _, l := range r.jobs["envoy"].loops {
		f.forget(l.target)
		eventually(t, "the connection ends with the target", func() bool { return w.open.Load() == 0 })
		l.scrape(t.Context(), nil)
	}
	if err := r.Apply(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection ends with the job", func() bool { return w.open.Load() == 0 })
}

// TestTargetsOfOneAddressShareAConnection: two targets have the same host and port. Their connection is closed when
// both are gone.
func TestTargetsOfOneAddressShareAConnection(t *testing.T) {
	w := startRawServer(t, respond(okResponse))
	r := newRig()
	r.opts.transport = nil
	cfg := job(t, "  static_configs: [{targets: ['"+w.host+"']}]\n")
	if err := r.Apply([]*promconfig.ScrapeConfig{cfg}); err != nil {
		t.Fatal(err)
	}
	var both []model.LabelSet
	for _, name := range []string{"a", "b"} {
		target := at(w.host)
		target["name"] = model.LabelValue(name)
		both = append(both, target)
	}
	r.discover(both...)
	var loops []*loop
	for _, l := range r.jobs["envoy"].loops {
		loops = append(loops, l)
		l.scrape(t.Context(), nil)
	}
	end := func(l *loop) {
		l.end(time.Now())
		r.ended(l)
	}
	end(loops[0])
	loops[1].scrape(t.Context(), nil)
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want 1: the end of a target closed that of another", n)
	}
	end(loops[1])
	eventually(t, "the connection ends with the last target", func() bool { return w.open.Load() == 0 })
}
