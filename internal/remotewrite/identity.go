package remotewrite

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
)

const (
	namedPrefix   = "n-"
	unnamedPrefix = "u-"
)

// identity returns the name of the queue of the endpoint. It depends on the name or, without one, on scheme, host and
// path of the URL. A change of the query or of a secret leaves the backlog where it is. Examples:
// n-prod-0a1b2c3d4e5f, u-host-0a1b2c3d4e5f.
func (c EndpointConfig) identity() string {
	if c.Name != "" {
		return namedPrefix + readable(c.Name) + digest(c.Name)
	}
	return c.unnamedIdentity()
}

// unnamedIdentity returns the identity that the endpoint has without a name.
func (c EndpointConfig) unnamedIdentity() string {
	host := ""
	if c.URL != nil && c.URL.URL != nil {
		host = c.URL.Host
	}
	return unnamedPrefix + readable(host) + digest(c.redactedURL())
}

// QueueOf returns the identity of the queue of a remote_write entry, by the name of the entry or, if it has none, its
// URL. An identity is taken as it is.
func QueueOf(entry string) (string, error) {
	if entry == "" {
		return "", errors.New("the entry has neither a name nor a URL")
	}
	if isIdentity.MatchString(entry) {
		return entry, nil
	}
	ec := EndpointConfig{RemoteWriteConfig: &promconfig.RemoteWriteConfig{Name: entry}}
	if u, err := url.Parse(entry); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		ec.Name, ec.URL = "", &config.URL{URL: u}
	}
	return ec.identity(), nil
}

// isIdentity matches what identity and numbered make: n-prod-0a1b2c3d4e5f, u-host-0a1b2c3d4e5f-2.
var isIdentity = regexp.MustCompile(`^[nu]-([a-z0-9-]+-)?[0-9a-f]{12}(-[0-9]+)?$`)

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return fmt.Sprintf("%x", sum[:6])
}

// readable returns the part of an identity by which people recognise the endpoint in the name of a directory.
func readable(s string) string {
	const most = 40
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(s))
	if clean = clean[:min(len(clean), most)]; clean != "" {
		clean += "-"
	}
	return clean
}

// identities returns the names of the queues of all endpoints. The second of two unnamed endpoints with one URL gets
// a number.
func identities(endpoints []EndpointConfig) []string {
	return numbered(len(endpoints), "-", func(i int) string { return endpoints[i].identity() })
}

func numbered(n int, mark string, name func(int) string) []string {
	names := make([]string, n)
	times := map[string]int{}
	for i := range names {
		base := name(i)
		names[i] = base
		if times[base]++; times[base] > 1 {
			names[i] = fmt.Sprintf("%s%s%d", base, mark, times[base])
		}
	}
	return names
}
