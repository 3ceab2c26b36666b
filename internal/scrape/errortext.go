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

// Errors quote what a target sent and URLs that it redirects to. Logs and web pages show these errors. So errorText
// limits their length, escapes control characters and masks secrets.
const (
	maxQuoted    = 100 // bytes that a target sent, in one error
	maxErrorURL  = 250 // bytes
	maxErrorText = 500 // bytes
)

// errorText returns the text of a scrape's error for logs and web pages.
func errorText(err error) string {
	text := ""
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		text = fmt.Sprintf("%s %q: ", ue.Op, truncate(MaskURL(ue.URL), maxErrorURL))
		err = ue.Err
	}
	return truncate(escapeUnprintable(text+truncateQuoted(WithoutTokens(err.Error()))), maxErrorText)
}

// truncateQuoted keeps maxQuoted bytes of all quoted parts of s together and replaces the rest of each by …
func truncateQuoted(s string) string {
	var b strings.Builder
	left, inQuotes, skipped := maxQuoted, false, false
	for i := 0; i < len(s); i++ {
		_, n := utf8.DecodeRuneInString(s[i:])
		if inQuotes && s[i] == '\\' && i+1 < len(s) {
			n = 2
			if hex := map[byte]int{'x': 4, 'u': 6, 'U': 10}[s[i+1]]; hex > 0 {
				n = min(hex, len(s)-i)
			}
		}
		if s[i] == '"' {
			if inQuotes && skipped {
				b.WriteString("…")
			}
			inQuotes, skipped = !inQuotes, false
			b.WriteByte('"')
			continue
		}
		if inQuotes {
			if left -= n; left < 0 {
				skipped = true
				i += n - 1
				continue
			}
		}
		b.WriteString(s[i : i+n])
		i += n - 1
	}
	if inQuotes && skipped {
		b.WriteString("…")
	}
	return b.String()
}

// escapeUnprintable replaces unprintable characters by Go escapes, such as \n and \x1b.
func escapeUnprintable(s string) string {
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

// truncate cuts s after limit bytes and adds how many bytes are missing: `abc… (7 bytes more)`.
func truncate(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:limit], len(s)-limit)
}

var secretName = regexp.MustCompile(`(?i)token|secret|passw|auth|key|sig|cred`)

// IsSecretParam reports whether the name of a URL parameter suggests that its value is a secret.
func IsSecretParam(name string) bool { return secretName.MatchString(name) }

const maskedParam = "<secret>"

// MaskParam returns value, or `<secret>` if label is a URL parameter (`__param_token`) whose name suggests a secret.
func MaskParam(label, value string) string {
	if param, ok := strings.CutPrefix(label, model.ParamLabelPrefix); ok && value != "" && IsSecretParam(param) {
		return maskedParam
	}
	return value
}

// WithoutTokens removes the response of an OAuth2 token endpoint from an error text. golang.org/x/oauth2 quotes it, and
// it may contain a token.
func WithoutTokens(text string) string {
	if !strings.Contains(text, "oauth2: ") {
		return text
	}
	before, _, _ := strings.Cut(text, "\nResponse: ")
	return before
}

// MaskURL masks the password and secret parameters in a target's URL: `http://u:xxxxx@h/p?token=<secret>&a=b`.
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
		if decoded, err := url.QueryUnescape(name); err != nil || IsSecretParam(decoded) {
			params[i] = name + "=" + maskedParam
		}
	}
	u.RawQuery = strings.Join(params, "&")
	return u.Redacted()
}
