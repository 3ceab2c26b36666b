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

func TestPlainRequestsAreNetHTTPs(t *testing.T) {
	w := listen(t, always(ok))
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
		before := len(w.heads)
		good(t, lean(t), tg)
		if name != "name" { // net/http would resolve it
			good(t, library(t), tg)
			if got, want := w.heads[before], w.heads[before+1]; got != want {
				t.Errorf("%s: asked\n%s\nnet/http asks\n%s", name, got, want)
			}
		} else if !strings.Contains(w.heads[before], "\r\nHost: LOCALHOST:1\r\n") {
			t.Errorf("asked\n%s", w.heads[before])
		}
	}
}

func TestPlainAnswers(t *testing.T) {
	withoutLog(t)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("x 1\n"))
	_ = z.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	const length = "Content-Length: 4\r\n"
	for name, c := range map[string]struct {
		answer string
		err    string // part of it
		closed bool   // the connection must not be kept
	}{
		"chunks":                   {answer: ok},
		"several chunks":           {answer: head + "Transfer-Encoding: chunked\r\n\r\n" + chunks("x ", "1", "\n")},
		"Envoy's lower case":       {answer: "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n" + chunks("x 1\n")},
		"length":                   {answer: head + length + "\r\nx 1\n"},
		"length twice":             {answer: head + length + length + "\r\nx 1\n"},
		"length and chunks":        {answer: head + "Content-Length: 900\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("x 1\n")},
		"until closed":             {answer: head + "\r\nx 1\n", closed: true},
		"connection: close":        {answer: head + length + "Connection: close\r\n\r\nx 1\n", closed: true},
		"connection: keep-alive":   {answer: head + length + "Connection: Keep-Alive\r\n\r\nx 1\n"},
		"HTTP/1.0":                 {answer: "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n" + length + "\r\nx 1\n", closed: true},
		"HTTP/1.0 keep-alive":      {answer: "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n" + length + "Connection: keep-alive\r\n\r\nx 1\n"},
		"hints before it":          {answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok},
		"a folded header":          {answer: head + "X-A: b\r\n c\r\n" + length + "\r\nx 1\n"},
		"bare newlines":            {answer: strings.ReplaceAll(head+length+"\r\n", "\r\n", "\n") + "x 1\n"},
		"trailer":                  {answer: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n", closed: true},
		"announced trailer":        {answer: head + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n\r\n"},
		"compressed":               {answer: head + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(zipped.String())},
		"bytes behind it":          {answer: ok + "HTTP/1.1 200 OK\r\n", closed: true},
		"a long header":            {answer: head + "X-A: " + strings.Repeat("a", 100<<10) + "\r\n" + length + "\r\nx 1\n"},
		"too long a head":          {answer: head + "X-A: " + strings.Repeat("a", maxHeadBytes) + "\r\n" + length + "\r\nx 1\n", err: "response headers exceeded", closed: true},
		"404":                      {answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", err: "server returned HTTP status 404 Not Found"},
		"404 with a long body":     {answer: "HTTP/1.1 404 Not Found\r\n\r\n" + strings.Repeat("a", 2*maxDrainBytes), err: "server returned HTTP status 404", closed: true},
		"204":                      {answer: "HTTP/1.1 204 No Content\r\n\r\n", err: "server returned HTTP status 204"},
		"302 without a place":      {answer: "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", err: "server returned HTTP status 302"},
		"garbage":                  {answer: "\x16\x03\x01\x00\x00\r\n\r\n", err: "malformed HTTP response", closed: true},
		"garbage before it":        {answer: "\r\n" + ok, err: "malformed HTTP response", closed: true},
		"nothing":                  {answer: "", err: "EOF", closed: true},
		"half a head":              {answer: "HTTP/1.1 200 OK\r\nContent-Ty", err: "missing colon", closed: true},
		"a header without a colon": {answer: head + "nonsense\r\n\r\n", err: "malformed MIME header", closed: true},
		"a negative length":        {answer: head + "Content-Length: -1\r\n\r\n", err: "bad Content-Length", closed: true},
		"lengths differ":           {answer: head + length + "Content-Length: 5\r\n\r\nx 1\n", err: "multiple Content-Length", closed: true},
		"unknown encoding":         {answer: head + "Transfer-Encoding: gzip\r\n\r\n", err: "unsupported transfer encoding", closed: true},
		"half a body":              {answer: head + "Content-Length: 5\r\n\r\nx 1\n", err: "unexpected EOF", closed: true},
		"a chunk breaks off":       {answer: head + "Transfer-Encoding: chunked\r\n\r\n5\r\nx 1\n", err: "unexpected EOF", closed: true},
		"no last chunk":            {answer: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n", err: "EOF", closed: true},
		"no end of the chunks":     {answer: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n", err: "unexpected EOF reading trailer", closed: true},
		"half a trailer":           {answer: head + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\nX-Sum: 1\r\n", err: "trailer", closed: true},
		"a bad chunk":              {answer: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\nx 1\n\r\n0\r\n\r\n", err: "invalid byte in chunk length", closed: true},
		"a huge chunk":             {answer: head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", err: "chunk length too large", closed: true},
		"not compressed":           {answer: head + "Content-Encoding: gzip\r\n" + length + "\r\nx 1\n", err: "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			talk := func(_ int, r *ring) {
				if r.hear() {
					r.say(c.answer)
					if c.err == "" && !c.closed { // else the end of the connection is part of the answer
						r.wait()
					}
				}
			}
			f := lean(t)
			got := look(t.Context(), f, listen(t, talk).target())
			want := look(t.Context(), library(t), listen(t, talk).target())
			if got.body != want.body || got.contentType != want.contentType || (got.err == "") != (want.err == "") {
				t.Errorf("got      %q\nnet/http %q", got, want)
			}
			if !strings.Contains(got.err, c.err) || (c.err == "") != (got.err == "") || !strings.Contains(want.err, c.err) {
				t.Errorf("error %q, net/http's %q, want %q", got.err, want.err, c.err)
			}
			if c.err == "" && got.body != "x 1\n" {
				t.Errorf("body %q", got.body)
			}
			if kept := f.kept() == 1; kept && c.closed || !kept && !c.closed && c.err == "" {
				t.Errorf("connection kept: %v", kept)
			}
		})
	}
}

func TestPlainUsesAConnectionAgain(t *testing.T) {
	w := listen(t, always(ok))
	f := lean(t)
	for range 5 {
		good(t, f, w.target())
	}
	other := w.target()
	other.url += "?other"
	good(t, f, other)
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := len(w.heads); n != 6 || !strings.Contains(w.heads[5], "?other") {
		t.Errorf("%d requests, the last\n%s", n, w.heads[n-1])
	}
	f.close()
	eventually(t, "the connection is closed", func() bool { return w.open.Load() == 0 })
	good(t, f, other)
	eventually(t, "what comes back after close is closed", func() bool { return w.open.Load() == 0 })
}

func TestPlainConnectionsThatEndWhileIdle(t *testing.T) {
	for name, c := range map[string]struct {
		first   func(*ring) // after the first answer
		watched bool        // wait until the client could know
	}{
		"closed":              {first: func(*ring) {}, watched: true},
		"told that it ends":   {first: func(r *ring) { r.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n") }, watched: true},
		"another answer":      {first: func(r *ring) { r.say(strings.Replace(ok, "x 1", "y 2", 1)); r.wait() }, watched: true},
		"closed when asked":   {first: func(r *ring) { r.hear() }},
		"reset when asked":    {first: func(r *ring) { r.hear(); _ = r.Conn.(*net.TCPConn).SetLinger(0) }},
		"half of the request": {first: func(r *ring) { _, _ = r.in.ReadByte(); _ = r.Conn.(*net.TCPConn).SetLinger(0) }},
	} {
		t.Run(name, func(t *testing.T) {
			idle := make(chan struct{})
			w := listen(t, func(n int, r *ring) {
				if r.hear() {
					r.say(ok)
					if n == 0 {
						<-idle
						c.first(r)
					} else {
						r.wait()
					}
				}
			})
			f := lean(t)
			good(t, f, w.target())
			first := f.keptConn(t)
			close(idle)
			if c.watched {
				eventually(t, "the connection is not quiet", func() bool { return !quiet(first.Conn) })
			}
			good(t, f, w.target())
			if n := w.accepted.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
			f.close()
			eventually(t, "both are closed", func() bool { return w.open.Load() == 0 })
		})
	}
}

func TestPlainTriesANewConnectionOnce(t *testing.T) {
	w := listen(t, func(n int, r *ring) {
		if r.hear() && n == 0 {
			r.say(ok)
			r.hear()
		}
	})
	f := lean(t)
	good(t, f, w.target())
	if s := look(t.Context(), f, w.target()); !strings.Contains(s.err, "EOF") {
		t.Errorf("got %q", s)
	}
	if n := w.accepted.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestPlainAsksOnceIfAnAnswerBegan(t *testing.T) {
	w := listen(t, func(_ int, r *ring) {
		if r.hear() {
			r.say(ok)
			if r.hear() {
				r.say("HTTP/1.1 200")
			}
		}
	})
	f := lean(t)
	good(t, f, w.target())
	if s := look(t.Context(), f, w.target()); !strings.Contains(s.err, "EOF") {
		t.Errorf("got %q", s)
	}
	if n := w.accepted.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestPlainEndsWithItsContext(t *testing.T) {
	for name, before := range map[string]string{
		"no answer": "", "within the head": "HTTP/1.1 200 OK\r\nCont", "within the body": ok[:len(ok)-7],
	} {
		t.Run(name, func(t *testing.T) {
			w := listen(t, func(_ int, r *ring) {
				if r.hear() {
					r.say(before)
					r.wait()
				}
			})
			f := lean(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if s := look(ctx, f, w.target()); !strings.HasSuffix(s.err, "context deadline exceeded") {
				t.Errorf("error %q", s.err)
			}
			ctx, stop := context.WithCancel(t.Context())
			go func() {
				for len(w.asked()) < 2 {
					<-time.After(time.Millisecond)
				}
				stop()
			}()
			if s := look(ctx, f, w.target()); !strings.HasSuffix(s.err, "context canceled") {
				t.Errorf("error %q", s.err)
			}
			if f.kept() != 0 {
				t.Error("a connection in the middle of an answer was kept")
			}
			eventually(t, "both are closed", func() bool { return w.open.Load() == 0 })
		})
	}
	t.Run("before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s := look(ctx, lean(t), listen(t, always(ok)).target()); !strings.HasSuffix(s.err, "context canceled") {
			t.Errorf("error %q", s.err)
		}
	})
	t.Run("between scrapes", func(t *testing.T) {
		w, f := listen(t, always(ok)), lean(t)
		ctx, cancel := context.WithCancel(t.Context())
		if s := look(ctx, f, w.target()); s.err != "" {
			t.Fatal(s.err)
		}
		cancel() // of a scrape that is over: no concern of the connection's
		good(t, f, w.target())
		if n := w.accepted.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

func (w *wire) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heads
}

func TestPlainStopsAtTheBodyLimit(t *testing.T) {
	sent := atomic.Int64{}
	w := listen(t, func(_ int, r *ring) {
		if r.hear() {
			r.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
			n, _ := io.Copy(r, endless{})
			sent.Store(n)
		}
	})
	f := lean(t)
	f.bodyLimit = 1 << 20
	if s := look(t.Context(), f, w.target()); s.err != errBodyLimit.Error() || len(s.body) != 1<<20 {
		t.Errorf("%d bytes, error %q", len(s.body), s.err)
	}
	eventually(t, "the server notices", func() bool { return sent.Load() > 0 && w.open.Load() == 0 })
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestPlainRefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	_ = l.Close()
	tg := &target{url: "http://" + host + "/x", hostPort: host, timeout: time.Second}
	got, want := look(t.Context(), lean(t), tg), look(t.Context(), library(t), tg)
	if got != want || !strings.Contains(got.err, "connection refused") {
		t.Errorf("got %q, net/http %q", got, want)
	}
}

func TestPlainHandsOver(t *testing.T) {
	target := listen(t, always(ok))
	w := listen(t, func(_ int, r *ring) {
		for r.hear() {
			r.say("HTTP/1.1 302 Found\r\nLocation: http://" + target.host + "/there\r\nContent-Length: 0\r\n\r\n")
		}
	})
	f := lean(t)
	good(t, f, w.target())
	if heads := target.asked(); len(heads) != 1 || !strings.HasPrefix(heads[0], "GET /there ") {
		t.Errorf("asked there for %q", heads)
	}

	f = lean(t)
	f.client.CheckRedirect = f.redirects(nil, true)
	moved := w.target()
	moved.url = strings.Replace(moved.url, "127.0.0.1", "localhost", 1)
	if s := look(t.Context(), f, moved); !strings.Contains(s.err, "redirect to another host") {
		t.Errorf("error %q", s.err)
	}

	secret := target.target()
	secret.url = "http://user:secret@" + target.host + "/x"
	f = lean(t)
	good(t, f, secret)
	if head := target.asked()[1]; !strings.Contains(head, "\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
		t.Errorf("asked without credentials:\n%s", head)
	}
	if f.kept() != 0 {
		t.Error("a request with credentials was made by the plain path")
	}
}

func TestWhichJobsArePlain(t *testing.T) {
	for yaml, want := range map[string]bool{
		"": true,
		"  follow_redirects: false\n  enable_http2: false\n":                   true,
		"  tls_config: {insecure_skip_verify: true}\n":                         true, // concerns https alone
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
		f, err := newFetcher(job(t, yaml), budget{}, false, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.plain != nil; got != want {
			t.Errorf("%q: plain %v", yaml, got)
		}
		f.close()
	}
}

// TestPlainManyAtOnce: nothing is shared that must not be, and no connection is lost.
func TestPlainManyAtOnce(t *testing.T) {
	page := func(n int) string { return strings.Repeat("x", n*1000) }
	var wires []*wire
	for n := range 8 {
		wires = append(wires, listen(t, func(_ int, r *ring) {
			for turn := 0; r.hear(); turn++ {
				switch {
				case turn%7 == 5:
					return
				case turn%2 == 0:
					r.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(page(n)+"\n", page(n)))
				default:
					r.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + page(n) + "\n" + page(n))
					return
				}
			}
		}))
	}
	f := lean(t)
	var all sync.WaitGroup
	for n, w := range wires {
		for range 2 {
			all.Go(func() {
				for range 50 {
					if s := look(t.Context(), f, w.target()); s.body != page(n)+"\n"+page(n) {
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

func TestPlainAllocations(t *testing.T) {
	w := listen(t, func(_ int, r *ring) {
		answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n" + chunks(strings.Repeat("x", 1<<20)))
		buf := make([]byte, 4<<10)
		for {
			if _, err := r.Read(buf); err != nil {
				return
			}
			if _, err := r.Write(answer); err != nil {
				return
			}
		}
	})
	f, tg, buf := lean(t), w.target(), make([]byte, 64<<10)
	n := testing.AllocsPerRun(50, func() {
		ctx, cancel := context.WithTimeout(t.Context(), tg.timeout)
		defer cancel()
		p, err := f.get(ctx, tg)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = p.body.Read(buf)
		}
		p.close()
	})
	if n > 20 {
		t.Errorf("%v allocations a page, want 20 at most", n)
	}
}

// TestAJobAsksPlainly is the way through the job: the guard, and connections that end with target and job.
func TestAJobAsksPlainly(t *testing.T) {
	w := listen(t, always(ok))
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
	if s := r.Status()[0].Targets[0]; s.Health != HealthUp || w.accepted.Load() != 1 || f.kept() != 1 {
		t.Errorf("%v %q, %d connections, %d kept", s.Health, s.Err, w.accepted.Load(), f.kept())
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

// TestATargetThatIsGoneLeavesTheConnectionOfAnother: a connection is kept by host and port, and ends with the last
// target there.
func TestATargetThatIsGoneLeavesTheConnectionOfAnother(t *testing.T) {
	w := listen(t, always(ok))
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
