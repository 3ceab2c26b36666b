package scrape

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// What a target sent, and what a redirect of its own names, ends up in errors, so in logs and on pages. These bound it,
// and take out what a terminal or a secret-keeper would mind.
const (
	maxQuoted    = 100 // bytes of what a target sent
	maxErrorURL  = 250
	maxErrorText = 500
)

// inWords is an error of a scrape as people read it.
func inWords(err error) string {
	text := ""
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		text = fmt.Sprintf("%s %q: ", ue.Op, cut(MaskURL(ue.URL), maxErrorURL))
		err = ue.Err
	}
	return cut(printable(text+quoteLittle(WithoutTokens(err.Error()))), maxErrorText)
}

// quoteLittle shortens what stands in quotes: of all of it together, maxQuoted bytes stay.
func quoteLittle(s string) string {
	var b strings.Builder
	left, quoted, skipped := maxQuoted, false, false
	for i := 0; i < len(s); i++ {
		_, n := utf8.DecodeRuneInString(s[i:])
		if quoted && s[i] == '\\' && i+1 < len(s) {
			n = 2
			if hex := map[byte]int{'x': 4, 'u': 6, 'U': 10}[s[i+1]]; hex > 0 {
				n = min(hex, len(s)-i)
			}
		}
		if s[i] == '"' {
			if quoted && skipped {
				b.WriteString("…")
			}
			quoted, skipped = !quoted, false
			b.WriteByte('"')
			continue
		}
		if quoted {
			if left -= n; left < 0 {
				skipped = true
				i += n - 1
				continue
			}
		}
		b.WriteString(s[i : i+n])
		i += n - 1
	}
	if quoted && skipped {
		b.WriteString("…")
	}
	return b.String()
}

// printable escapes what is not.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteString(s[i : i+n])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

// cut bounds a text.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:most], len(s)-most)
}

var secretName = regexp.MustCompile(`(?i)token|secret|passw|auth|key|sig|cred`)

// IsSecretParam tells that a parameter of a URL holds a secret, to judge by its name.
func IsSecretParam(name string) bool { return secretName.MatchString(name) }

const maskedParam = "<secret>"

// MaskParam returns the value of a label as people may see it: not that of a parameter that is a secret.
func MaskParam(label, value string) string {
	if param, ok := strings.CutPrefix(label, model.ParamLabelPrefix); ok && value != "" && IsSecretParam(param) {
		return maskedParam
	}
	return value
}

// WithoutTokens takes out of an error what a token endpoint answered, which golang.org/x/oauth2 quotes: it may be a token.
func WithoutTokens(text string) string {
	if !strings.Contains(text, "oauth2: ") {
		return text
	}
	before, _, _ := strings.Cut(text, "\nResponse: ")
	return before
}

// MaskURL hides a password in a target's URL, and the values of its parameters that are secrets.
func MaskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "<not a URL>"
	}
	if u.RawQuery == "" {
		return u.Redacted()
	}
	params := strings.Split(u.RawQuery, "&")
	for i, param := range params {
		name, _, _ := strings.Cut(param, "=")
		if plain, err := url.QueryUnescape(name); err != nil || IsSecretParam(plain) {
			params[i] = name + "=" + maskedParam
		}
	}
	u.RawQuery = strings.Join(params, "&")
	return u.Redacted()
}
