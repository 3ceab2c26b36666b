package deliver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

func TestClassify(t *testing.T) {
	wrote := func(code int, header string) Answer {
		a := answerOf(code)
		a.Header.Set(header, "0")
		return a
	}
	const samples = "X-Prometheus-Remote-Write-Samples-Written"
	for name, tc := range map[string]struct {
		answer Answer
		c      requestInfo
		want   Outcome
	}{
		"1.0 200":              {answerOf(200), requestInfo{sent: wire.V1}, Accepted},
		"1.0 204":              {answerOf(204), requestInfo{sent: wire.V1}, Accepted},
		"2.0 204 with samples": {wrote(204, samples), requestInfo{sent: wire.V2}, Accepted},
		"2.0 204 with histograms": {wrote(204, "X-Prometheus-Remote-Write-Histograms-Written"),
			requestInfo{sent: wire.V2}, Accepted},
		"2.0 204 with exemplars": {wrote(204, "X-Prometheus-Remote-Write-Exemplars-Written"),
			requestInfo{sent: wire.V2}, Accepted},
		"2.0 204 without":              {answerOf(204), requestInfo{sent: wire.V2}, OtherProtocol},
		"301":                          {answerOf(301), requestInfo{sent: wire.V1}, SlowRetry},
		"308":                          {answerOf(308), requestInfo{sent: wire.V2}, SlowRetry},
		"400 to 1.0":                   {answerOf(400), requestInfo{sent: wire.V1, unproven: true}, Isolate},
		"400 to 2.0":                   {answerOf(400), requestInfo{sent: wire.V2}, Refused},
		"400 to a try of 2.0":          {answerOf(400), requestInfo{sent: wire.V2, unproven: true}, OtherProtocol},
		"400 to a try, with headers":   {wrote(400, samples), requestInfo{sent: wire.V2, unproven: true}, Refused},
		"401":                          {answerOf(401), requestInfo{sent: wire.V2}, SlowRetry},
		"403":                          {answerOf(403), requestInfo{sent: wire.V1}, SlowRetry},
		"404":                          {answerOf(404), requestInfo{sent: wire.V2}, Refused},
		"404 to a try of 2.0":          {answerOf(404), requestInfo{sent: wire.V2, unproven: true}, OtherProtocol},
		"404 to a try, with headers":   {wrote(404, samples), requestInfo{sent: wire.V2, unproven: true}, Refused},
		"404 to 1.0":                   {answerOf(404), requestInfo{sent: wire.V1, unproven: true}, Refused},
		"406 to a try of 2.0":          {answerOf(406), requestInfo{sent: wire.V2, unproven: true}, OtherProtocol},
		"409 to a try of 2.0":          {answerOf(409), requestInfo{sent: wire.V2, unproven: true}, Refused},
		"409":                          {answerOf(409), requestInfo{sent: wire.V1}, Refused},
		"413":                          {answerOf(413), requestInfo{sent: wire.V2}, Split},
		"415":                          {answerOf(415), requestInfo{sent: wire.V2}, OtherProtocol},
		"415 to 1.0":                   {answerOf(415), requestInfo{sent: wire.V1}, OtherProtocol},
		"422":                          {answerOf(422), requestInfo{sent: wire.V2}, Refused},
		"422 to a try of 2.0":          {answerOf(422), requestInfo{sent: wire.V2, unproven: true}, OtherProtocol},
		"429":                          {answerOf(429), requestInfo{sent: wire.V1, retryOnRateLimit: true}, Retry},
		"429 unless the user says not": {answerOf(429), requestInfo{sent: wire.V1}, Refused},
		"500":                          {answerOf(500), requestInfo{sent: wire.V1}, Retry},
		"501":                          {answerOf(501), requestInfo{sent: wire.V2}, Retry},
		"501 to a try of 2.0":          {answerOf(501), requestInfo{sent: wire.V2, unproven: true}, OtherProtocol},
		"501 to 1.0":                   {answerOf(501), requestInfo{sent: wire.V1}, Retry},
		"503":                          {answerOf(503), requestInfo{sent: wire.V2}, Retry},
		"503 to a try of 2.0":          {answerOf(503), requestInfo{sent: wire.V2, unproven: true}, Retry},
		"599":                          {answerOf(599), requestInfo{sent: wire.V2}, Retry},
		"no answer": {Answer{Err: errors.New("connection reset")}, requestInfo{sent: wire.V2},
			Retry},
	} {
		t.Run(name, func(t *testing.T) {
			if got := classify(tc.answer, tc.c); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestKindsOfAnswers(t *testing.T) {
	for want, a := range map[string]Answer{
		"2xx": answerOf(204), "1xx": answerOf(101), "3xx": answerOf(308), "400": answerOf(400), "401": answerOf(401),
		"403": answerOf(403),
		"404": answerOf(404), "409": answerOf(409), "413": answerOf(413), "415": answerOf(415), "422": answerOf(422),
		"429": answerOf(429),
		"4xx": answerOf(418), "5xx": answerOf(599),
		"timeout": {Err: context.DeadlineExceeded},
		"dns":     {Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsTimeout: true}}},
		"refused": {Err: &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}},
		"network": {Err: io.ErrUnexpectedEOF},
	} {
		if got := a.kind(); got != want || !slices.Contains(Answers, got) {
			t.Errorf("%d, %v: got %s, want %s", a.Status, a.Err, got, want)
		}
	}
	for _, code := range []int{0, 99, 600, 999} {
		if got := answerOf(code).kind(); !slices.Contains(Answers, got) {
			t.Errorf("%d: got %s, which is not counted", code, got)
		}
	}
}

// FuzzRetryAfter holds the laws of a header that a receiver writes: never negative, never absurd, seconds are seconds.
func FuzzRetryAfter(f *testing.F) {
	for _, v := range []string{"", "0", "30", "-5", "-9223372037", "-18446744075", "86400", "9223372036854775807",
		"99999999999999999999", "1.5", "+7", " 8", "soon",
		"Fri, 01 Jan 1999 15:04:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Friday, 01-Jan-99 15:04:05 GMT",
		"Fri Jan  1 15:04:05 1999"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		got := retryAfter(http.Header{"Retry-After": {v}})
		if got < 0 || got > maxRetryAfter {
			t.Errorf("%q: wait %v", v, got)
		}
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && got != time.Duration(max(0, min(n, 300)))*time.Second {
			t.Errorf("%q: wait %v, want %ds within 0 to 300", v, got, n)
		}
	})
}

func TestWritten(t *testing.T) {
	h := http.Header{}
	if n, ok := Written(h); n != 0 || ok {
		t.Errorf("no headers = %d, %v", n, ok)
	}
	h.Set("X-Prometheus-Remote-Write-Samples-Written", "5")
	h.Set("X-Prometheus-Remote-Write-Histograms-Written", "2")
	h.Set("X-Prometheus-Remote-Write-Exemplars-Written", "9")
	if n, ok := Written(h); n != 7 || !ok {
		t.Errorf("samples and histograms = %d, %v; want 7", n, ok)
	}
	h.Set("X-Prometheus-Remote-Write-Samples-Written", "many")
	if n, ok := Written(h); n != 2 || !ok {
		t.Errorf("a bad number = %d, %v; want 2", n, ok)
	}
}

func TestBackoff(t *testing.T) {
	b := backoff{min: 30 * time.Millisecond, max: 5 * time.Second, random: anyRandom()}
	step := b.min
	for range 20 {
		d := b.wait()
		if least, most := max(b.min, step*4/5), min(b.max, step*6/5); d < least || d > most {
			t.Errorf("waited %v, want %v to %v", d, least, most)
		}
		step = min(2*step, b.max)
	}
}
