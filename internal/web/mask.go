package web

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const masked = "<redacted>"

// userinfo is a user name and password: everything between :// and an @ before the next slash.
var userinfo = regexp.MustCompile(`(://)[^/?#\s"'<>]*@`)

// maskURLs hides the user name and password of every URL in a text, such as the error of an HTTP client.
func maskURLs(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	return userinfo.ReplaceAllString(text, "${1}"+masked+"@")
}

// maskURL hides user name, password and query of a URL from the configuration. Both may hold tokens. The URLs of
// targets are masked by package scrape.
func maskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return maskURLs(text)
	}
	if u.RawQuery != "" {
		u.RawQuery = masked
	}
	return maskURLs(u.String())
}

// maskLabels hides credentials in label values: in URLs, in parameters of the target's URL whose names say that they
// are secret, and in __meta_url, the URL of an http_sd.
func maskLabels(l labels.Labels) labels.Labels {
	b := labels.NewBuilder(l)
	l.Range(func(l labels.Label) {
		clean := maskURLs(l.Value)
		if l.Name == "__meta_url" {
			clean = maskURL(l.Value)
		}
		clean = scrape.MaskParam(l.Name, clean)
		if clean != l.Value {
			b.Set(l.Name, clean)
		}
	})
	return b.Labels()
}
