package web

import (
	"net/url"
	"regexp"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const masked = "<redacted>"

// Whatever stands between :// and an @ before the next slash is userinfo.
var userinfo = regexp.MustCompile(`(://)[^/?#\s"'<>]*@`)

// maskURLs hides the userinfo of every URL in a text, as in the error of an HTTP client.
func maskURLs(text string) string {
	return userinfo.ReplaceAllString(text, "${1}"+masked+"@")
}

// maskURL hides userinfo and the values of the query: tokens travel in both. For one URL that is ours to call;
// those of targets come masked.
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

// maskLabels hides credentials in label values: in parameters of the target's URL too, where their names say so.
// __meta_url is the address that http_sd asked, credentials and all.
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
