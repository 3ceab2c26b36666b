package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"testing"
)

// kind is a kind of hostile target, and the result that the program must report.
type kind struct {
	name      string
	respond   responder
	up        bool     // the page is valid after all
	reasons   []string // its failures are counted under one of these
	lastError string   // part of the reported error
}

const (
	mb    = 1 << 20
	limit = 64 * mb // default body_size_limit

	head     = "HTTP/1.1 200 OK\r\n" + plain + "\r\n" // a body that ends with the connection
	gzipHead = "HTTP/1.1 200 OK\r\n" + plain + "Content-Encoding: gzip\r\n\r\n"
)

func zipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// kinds returns the hostile pages that cost little to read. Each name begins with its row in docs/reliability.md.
func kinds(t *testing.T) []kind {
	tooLarge := []string{"body_size_limit"}
	bad, broken := []string{"page"}, []string{"network", "page"}
	late := []string{"timeout"}
	either := []string{"body_size_limit", "timeout"}    // reading 64 MB takes a second, or more on a busy machine
	bomb := zipped(t, strings.Repeat("x 1\n", 10*mb/4)) // a gzip stream may have several members
	return []kind{
		{"T1 a byte per second", drip(head, "x 1\n"), false, late, "deadline"},
		{"T1 a byte of the head per second", drip("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), false, late, "deadline"},
		{"T1 silence", silent, false, late, "deadline"},
		{"T2 endless", endless(head, "x 1\n"), false, either, ""},
		{"T2 endless, chunked", endless("HTTP/1.1 200 OK\r\n"+plain+"Transfer-Encoding: chunked\r\n\r\n",
			"1000\r\n"+strings.Repeat("x 1\n", 1024)+"\r\n"), false, either, ""},
		{"T2 endless after an error", endless(head+"<\n", "x 1\n"), false, tooLarge, "body size limit"},
		{"T2 endless 404", endless("HTTP/1.1 404 Not Found\r\n\r\n", "x"), false, []string{"status"}, "404"},
		{"T2 endless head", endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), false, broken, ""},
		{"T2 endless header", endless("HTTP/1.1 200 OK\r\nX-A: ", "b"), false, broken, "headers exceeded"},
		{"T2 endless status line", endless("HTTP/1.1 200 ", "b"), false, broken, "headers exceeded"},
		{"T2 endless 100 Continue", endless("", "HTTP/1.1 100 Continue\r\n\r\n"), false, broken, ""},
		{"T3 gzip bomb", endless(gzipHead, bomb), false, either, ""},
		{"T3 gzip bomb of zeros", endless(gzipHead, zipped(t, strings.Repeat("\x00", 10*mb))), false, tooLarge,
			"body size limit"},
		{"T3 gzip in gzip", page(plain+"Content-Encoding: gzip\r\n", zipped(t, bomb)), false, bad, "start token"},
		{"T3 not gzip", page(plain+"Content-Encoding: gzip\r\n", "x 1\n"), false, bad, ""},
		{"T3 truncated gzip", page(plain+"Content-Encoding: gzip\r\n", bomb[:len(bomb)/2]), false, broken,
			"unexpected EOF"},
		// A zstd frame that asks for a window of 2 GB. The program did not ask for zstd, so it parses the frame as
		// text.
		{"T3 zstd", page(plain+"Content-Encoding: zstd\r\n", "\x28\xb5\x2f\xfd\x00\xa8\x03\x00\x00\x41"), false, bad,
			""},
		{"T4 binary", page(plain, "x 1\n\x01\x02\xff\xfe"+strings.Repeat("\x80\x1b[31m", 1000)), false, bad,
			"start token"},
		{"T4 invalid UTF-8", page(plain, "x{a=\"\xff\"} 1\n"), false, bad, "UTF-8"},
		{"T4 HTML", page("Content-Type: text/html\r\n", "<html>"), false, bad, ""},
		{"T4 HTML as text", page(plain, "<html>"+strings.Repeat("<p>", 10000)), false, bad, "start token"},
		{"T4 CRLF", page(plain, "x 1\r\ny 2\r\n"), false, bad, ""},
		{"T4 byte order mark", page(plain, "\ufeffx 1\n"), false, bad, "start token"},
		{"T4 NUL", page(plain, "x\x00y 1\n"), false, bad, ""},
		{"T5 line of 8 MB", page(plain, strings.Repeat("x", 8*mb)), false, bad, "line is longer"},
		{"T5 label value of 8 MB", page(plain, "x{a=\""+strings.Repeat("x", 8*mb)+"\"} 1\n"), false, bad,
			"line is longer"},
		{"T5 label value of newlines", page(plain, "x{a=\""+strings.Repeat("\n", 8*mb)), false, bad, "line is longer"},
		{"T5 label value within a line", page(plain, "x{a=\""+strings.Repeat("x", mb/2)+"\"} 1\n"), false,
			[]string{"label_limit"}, "label_value_length_limit"},
		{"T5 a million labels", page(plain, labels(1_000_000)), false, bad, "line is longer"},
		{"T5 50,000 labels", page(plain, labels(50_000)), false, []string{"label_limit"}, "label_limit"},
		{"T5 newlines", endless(head, "\n"), false, either, ""},
		{"T5 comments", endless(head, "#\n"), false, either, ""},
		{"T6 a series twice", page(plain, "x 1\nx 2\n"), true, nil, ""},
		{"T6 a label twice", page(plain, "x{a=\"1\",a=\"2\"} 1\n"), false, bad, ""},
		{"T8 invalid chunk", raw("HTTP/1.1 200 OK\r\n" + plain +
			"Transfer-Encoding: chunked\r\n\r\nzz\r\nx 1\n\r\n0\r\n\r\n"), false, broken, "chunk length"},
		{"T8 truncated chunk", raw("HTTP/1.1 200 OK\r\n" + plain + "Transfer-Encoding: chunked\r\n\r\nff\r\nx 1\n"),
			false, broken, "unexpected EOF"},
		{"T8 no last chunk", raw("HTTP/1.1 200 OK\r\n" + plain + "Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n"),
			false, broken, "unexpected EOF"},
		{"T8 too large a chunk", raw("HTTP/1.1 200 OK\r\n" + plain +
			"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx 1\n"), false, broken, "chunk"},
		{"T8 Content-Length too large", raw("HTTP/1.1 200 OK\r\n" + plain + "Content-Length: 100\r\n\r\nx 1\n"), false,
			broken, "unexpected EOF"},
		{"T8 two Content-Lengths", raw("HTTP/1.1 200 OK\r\n" + plain +
			"Content-Length: 4\r\nContent-Length: 5\r\n\r\nx 1\ny"), false, broken, "Content-Length"},
		{"T8 reset", reset(head + "x 1\n"), false, broken, "reset"},
		{"T8 not HTTP", raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x80", 1000)), false,
			broken, "malformed"},
		{"T8 trailers", raw("HTTP/1.1 200 OK\r\n" + plain +
			"Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n4\r\nx 1\n\r\n0\r\nX-A: b\r\n\r\n"), true, nil, ""},
		{"T8 endless trailer", endless("HTTP/1.1 200 OK\r\n"+plain+
			"Transfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n", "X-A: b\r\n"), false, broken, "trailer"},
		{"T9 redirect loop", page301("/metrics"), false, broken, "10 redirects"},
		{"T9 redirect to metadata", page301("http://169.254.169.254/latest/meta-data/"), false,
			[]string{"forbidden_address"}, "never scraped"},
		{"T9 redirect to loopback", page301("http://127.0.0.1:1/"), false, []string{"forbidden_address"}, "loopback"},
	}
}

// heavy returns the kinds that cost the most time or memory that the limits allow.
func heavy() []kind {
	tooMuch := []string{"timeout", "sample_limit", "body_size_limit"}
	return []kind{
		{"T5 endless series", numbered(head, "x%d 1\n"), false, tooMuch, ""},
		{"T5 endless series with labels", numbered(head, "x{a=\"%d\"} 1\n"), false, tooMuch, ""},
		{"T5 endless different comments", numbered(head, "#%d\n"), false, tooMuch, ""},
		{"T5 endless families", numbered(head, "# HELP a%[1]d b\n# TYPE a%[1]d gauge\n"), false, tooMuch, ""},
		{"T2 endless OpenMetrics", endless("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; "+
			"version=1.0.0\r\n\r\n", "x 1\n"), false, tooMuch, ""},
		{"T2 endless protobuf", endless("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.google.protobuf; "+
			"proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n\r\n", "\x05\x0a\x03abc"), false, tooMuch,
			""},
		{"T2 protobuf of 2 GB", page("Content-Type: application/vnd.google.protobuf; "+
			"proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n", "\xff\xff\xff\xff\x07abc"), false,
			[]string{"page"}, ""},
	}
}

func labels(n int) string {
	var b strings.Builder
	b.WriteString("x{")
	for i := range n {
		fmt.Fprintf(&b, "a%d=\"%d\",", i, i)
	}
	b.WriteString("} 1\n")
	return b.String()
}

func page301(to string) responder {
	return raw("HTTP/1.1 301 Moved Permanently\r\nLocation: " + to +
		"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
