package scrape

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestT4ABadPageIsLoggedInOneLine: a target with a bad page is logged in one line. The line quotes at most 100 bytes of
// the page, escaped.
func TestT4ABadPageIsLoggedInOneLine(t *testing.T) {
	long := strings.Repeat("evil", 1000)
	for name, page := range map[string]string{
		"binary":            "a 1\n\x01\x00\x02\xff\xfe\x1b[31m" + long,
		"HTML":              "<!DOCTYPE html><html>" + long,
		"invalid UTF-8":     "a{b=\"" + long + "\xff\"} 1\n",
		"a long value":      "a{b=\"" + long + "\"} x\n",
		"a long name":       long + "! 1\n",
		"no value":          "a{b=\"" + long + "\"}\n",
		"a long number":     "a 1" + long + "\n",
		"a byte order mark": "\ufeffa 1\n",
		"control bytes":     "a{b=\"\x1b]0;title\x07\u202e\"} x\n",
		"a label twice":     "a{" + long + "=\"" + long + "\"," + long + "=\"" + long + "\"} 1\n",
		"too many labels":   "a{" + strings.Repeat(long+"=\"1\",", 100) + "} 1\n",
		"too long a label":  "a{b=\"" + strings.Repeat(long, 50) + "\"} 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zapcore.InfoLevel)
			r := newRig()
			r.env.log = zap.New(core)
			r.apply(t, job(t, "  label_limit: 50\n  label_value_length_limit: 100000\n"))
			r.discover(at("a:1"))
			r.pages.set("a:1", page)
			for range 3 {
				for _, l := range r.jobs["envoy"].loops {
					l.scrape(t.Context(), nil)
				}
			}
			lines := logs.FilterMessage("target down").All()
			if len(lines) != 1 || logs.Len() != 1 {
				t.Fatalf("%d lines, %d of them \"target down\"; want one", logs.Len(), len(lines))
			}
			text := fmt.Sprint(lines[0].ContextMap()["error"])
			t.Log(text)
			if n := strings.Count(text, "evil") * 4; n > maxQuoted {
				t.Errorf("%d bytes of the page, want at most %d: %s", n, maxQuoted, text)
			}
			if len(text) > 300 || !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\n\u202e\x07") {
				t.Errorf("%d bytes: %q", len(text), text)
			}
		})
	}
}

func TestInWords(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New(`expected value after metric, got "a" ("INVALID") while parsing: "x{a"`),
			`expected value after metric, got "a" ("INVALID") while parsing: "x{a"`},
		{errors.New(`while parsing: "` + long + `"`), `while parsing: "` + long[:100] + `…"`},
		{errors.New(`got "` + long[:90] + `" while parsing: "` + long + `"`), `got "` + long[:90] +
			`" while parsing: "` + long[:10] + `…"`},
		{errors.New(`got "` + long[:98] + `\x00\x01"`), `got "` + long[:98] + `…"`},
		{errors.New(`got "a\"b\\" here`), `got "a\"b\\" here`},
		{errors.New(`got "a\`), `got "a\`},
		{errors.New(`got "` + long), `got "` + long[:100] + `…`},
		{errors.New("a\nb\x1b\xff"), `a\nb\x1b\xff`},
		{errors.New(long + long), (long + long)[:500] + "… (100 bytes more)"},
		{&url.Error{Op: "Get", URL: "http://u:canary@h:1/p?token=canary&a=b", Err: errors.New("gone")},
			`Get "http://u:xxxxx@h:1/p?token=<secret>&a=b": gone`},
		{&url.Error{Op: "Get", URL: "http://h/" + long, Err: errors.New("gone")}, `Get "http://h/` + long[:241] +
			`… (59 bytes more)": gone`},
	} {
		if got := errorText(c.err); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestS11SecretsAreMasked(t *testing.T) {
	for in, want := range map[string]string{
		"oauth2: cannot fetch token: 401\nResponse: {secret}": "oauth2: cannot fetch token: 401",
		"x\nResponse: y": "x\nResponse: y",
	} {
		if got := WithoutTokens(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	for label, want := range map[string]string{"__param_access_token": "<secret>", "__param_usedonly": "v",
		"access_token": "v"} {
		if got := MaskParam(label, "v"); got != want {
			t.Errorf("%s: got %q, want %q", label, got, want)
		}
	}
}

// FuzzErrorText: the text of any error is short, printable and valid UTF-8.
func FuzzInWords(f *testing.F) {
	for _, seed := range []string{
		`expected value after metric, got "a" ("INVALID") while parsing: "x{a"`, "\x00\xff\x1b[31m", `"\`, `"\x0`,
		`"\U0001F600"`, "\u202e", `""""`,
		strings.Repeat(`\"`, 300), `"` + strings.Repeat("€", 200),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, err := range []error{errors.New(s), &url.Error{Op: "Get", URL: s, Err: errors.New(s)},
			fmt.Errorf("while parsing: %q", s)} {
			text := errorText(err)
			if len(text) > maxErrorText+40 || !utf8.ValidString(text) {
				t.Errorf("%d bytes: %q", len(text), text)
			}
			for _, r := range text {
				if !unicode.IsPrint(r) {
					t.Errorf("%q in %q", r, text)
				}
			}
		}
		if text := errorText(fmt.Errorf("%q", s)); len(text) > maxQuoted+10 {
			t.Errorf("%d bytes of quoted text: %s", len(text), text)
		}
	})
}
