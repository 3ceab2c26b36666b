package scrape

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
)

// responseSeeds are responses in usual and unusual forms.
func responseSeeds(f *testing.F) []string {
	f.Helper()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	return []string{
		okResponse,
		head + "Content-Length: 4\r\n\r\nx 1\n",
		head + "content-length: 4\r\nConnection: keep-alive\r\n\r\nx 1\nmore",
		head + "Content-Length: 4\r\nConnection: close\r\n\r\nx 1\n",
		head + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + "Content-Length: +4\r\n\r\nx 1\n",
		head + "Content-Length: \r\n\r\nx 1\n",
		head + "Content-Length: 0\r\n\r\n",
		head + "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("x ", "1\n"),
		head + "Transfer-Encoding: Chunked \r\n\r\n4;a=b\r\nx 1\n\r\n0\r\nX: y\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("x 1\n"),
		head + "Transfer-Encoding: identity\r\n\r\nx 1\n",
		head + "Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r",
		head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\n",
		head + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + "Content-Type: b\r\nContent-Encoding:\tgzip\t\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + " folded\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + "Content-Length : 4\r\n\r\nx 1\n",
		head + "Content-Length: 4\n\nx 1\n",
		head + "X: \x00\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + "X: \r\r\nContent-Length: 4\r\n\r\nx 1\n",
		head + "\r\nx 1\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nx 1\n",
		"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nx 1\n",
		"HTTP/1.1  200 OK\r\nContent-Length: 4\r\n\r\nx 1\n",
		"HTTP/1.1 200 \r\nContent-Length: 4\r\n\r\nx 1\n",
		"HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nx 1\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + okResponse,
		"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nx",
		"HTTP/1.1 099 What\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n",
		"HTTP/1.1 503 no\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks("x 1\n"),
		"", "\n", "HTTP/1.1", "<html>",
	}
}

// FuzzHeader: if parseHeader accepts a header, http.ReadResponse reads the same from it.
func FuzzHeader(f *testing.F) {
	for _, s := range responseSeeds(f) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n := parseHeader(b)
		if n == 0 {
			return
		}
		in := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%q was accepted, but %v", b[:n], err)
		}
		length := resp.ContentLength
		if resp.Body == http.NoBody {
			length = 0
		}
		if resp.StatusCode != http.StatusOK || resp.Close || length != h.length || len(b)-in.Buffered() != n ||
			resp.Header.Get("Content-Type") != string(h.contentType) ||
			resp.Header.Get("Content-Encoding") != string(h.encoding) {
			t.Errorf("%q\nwas parsed as %q, %q, %d, of %d bytes\nnet/http: %d %v, close %v, length %d, %d bytes", b,
				h.contentType, h.encoding, h.length, n,
				resp.StatusCode, resp.Header, resp.Close, length, len(b)-in.Buffered())
		}
	})
}

// FuzzResponse: a server sends arbitrary bytes in two pieces and closes. Both clients return the same error, or the
// same page.
func FuzzResponse(f *testing.F) {
	silenceLog(f)
	for i, s := range responseSeeds(f) {
		f.Add([]byte(s), uint16(0))
		f.Add([]byte(s), uint16(i*7))
	}
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				if _, err := http.ReadRequest(bufio.NewReader(server)); err != nil {
					return
				}
				n := min(int(cut), len(b))
				if _, err := server.Write(b[:n]); err == nil {
					_, _ = server.Write(b[n:])
				}
			}()
			return client, nil
		}
		tg := &target{url: "http://a:1/stats/prometheus", hostPort: "a:1"}
		ours, netHTTP := plainFetcher(t), netHTTPFetcher(t)
		ours.plain.dial = dial
		netHTTP.client.Transport.(*http.Transport).DialContext = dial
		ours.client.Transport = netHTTP.client.Transport
		got, want := getPage(t.Context(), ours, tg), getPage(t.Context(), netHTTP, tg)
		if same := errorOf(got.err) == errorOf(want.err) || got.err != "" && ambiguous(b); !same ||
			got.body != want.body || got.contentType != want.contentType {
			t.Errorf("%q, cut at %d\ngot      %q\nnet/http %q", b, cut, got, want)
		}
	})
}

// errorOf removes a prefix that only net/http adds to an error.
func errorOf(s string) string {
	return strings.Replace(s, "net/http: HTTP/1.x transport connection broken: ", "", 1)
}

// ambiguous reports whether the text of net/http's error for a response depends on timing. It does if there is none.
func ambiguous(b []byte) bool { return len(b) == 0 }
