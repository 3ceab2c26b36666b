package config

import (
	"fmt"
	"regexp"
	"strings"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// redacted replaces a secret, as in prometheus/common.
const redacted = "<secret>"

// secretKeys are keys whose value, and everything below it, is secret. prometheus/common hides most of them; it prints
// these.
var secretKeys = map[string]bool{
	"password": true, "credentials": true, "bearer_token": true, "client_secret": true, "client_certificate_key": true,
	"secret_key": true, "headers": true, "http_headers": true, "proxy_connect_header": true, "endpoint_params": true,
	"key": true, "claims": true, "access_key": true, "external_id": true, "username": true, "client_id": true,
}

var (
	urlUser  = regexp.MustCompile(`(://)[^/?#\s"']*@`)
	urlQuery = regexp.MustCompile(`([?&][^=&\s#"']*=)[^&\s#"']*`)
)

// RedactURLs hides user info and query values of URLs in a text of unknown origin, and tokens in answers of a token
// endpoint.
func RedactURLs(s string) string {
	return redactURL(scrape.WithoutTokens(s))
}

// redactURL hides user info and query values of URLs: http://u:p@h/w?k=v becomes http://<secret>@h/w?k=<secret>.
func redactURL(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = urlUser.ReplaceAllString(s, "${1}"+redacted+"@")
	return urlQuery.ReplaceAllString(s, "${1}"+redacted)
}

// isSecretPath reports whether a path contains a key of a secret.
func isSecretPath(path string) bool {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
	for i, part := range parts {
		if secretKeys[part] || i > 0 && parts[i-1] == "params" && scrape.IsSecretParam(part) ||
			strings.HasPrefix(part, "__param_") && scrape.IsSecretParam(part) {
			return true
		}
	}
	return false
}

// authKeys are blocks with credentials. A misspelt key below them may be a credential.
var authKeys = map[string]bool{
	"basic_auth": true, "authorization": true, "oauth2": true, "sigv4": true, "azuread": true, "google_iam": true,
	"tls_config": true,
}

// mayBeSecret reports whether a refused value may be a secret, perhaps under a misspelt key.
func mayBeSecret(path string) bool {
	if isSecretPath(path) {
		return true
	}
	if fileKeys[path[strings.LastIndexByte(path, '.')+1:]] {
		return false // the value is a path, which the check for missing files prints too
	}
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if authKeys[part] || scrape.IsSecretParam(part) && !strings.HasSuffix(part, "_file") {
			return true
		}
	}
	return false
}

// Redacted returns the effective configuration as YAML: with all defaults, flags and variables, with all jobs, and
// without secrets.
func (c *Config) Redacted() (string, error) {
	effective := *c.Prometheus
	effective.ScrapeConfigs = c.Jobs
	effective.ScrapeConfigFiles = nil
	text, err := yamlv2.Marshal(&effective)
	if err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	root := doc.Content[0]
	redactBelow(root, "")
	c.markNegotiated(root)
	c.dropUnused(&doc)
	var ext yaml.Node
	if err := ext.Encode(c.extension()); err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	root = doc.Content[0]
	root.Content = append(root.Content, yamltree.String(extensionKey), &ext)
	out, err := yaml.Marshal(root)
	if err != nil {
		return "", fmt.Errorf("print the configuration: %w", err)
	}
	return string(out), nil
}

// extension returns the effective envoy_scraper block, with the built-in job in own_address_jobs.
func (c *Config) extension() Extension {
	ext := c.Extension
	if c.BuiltinJob != "" {
		ext.OwnAddressJobs = []string{c.BuiltinJob}
	}
	return ext
}

// dropUnused removes the keys that are not used.
func (c *Config) dropUnused(doc *yaml.Node) {
	root := doc.Content[0]
	for _, key := range []string{"storage", "tracing", "otlp", "alerting"} {
		if at := yamltree.Index(root, key); at >= 0 {
			root = yamltree.Without(root, at)
		}
	}
	doc.Content[0] = root
	if global := yamltree.Get(root, "global"); global != nil {
		for key := range unusedGlobals {
			if at := yamltree.Index(global, key); at >= 0 {
				*global = *yamltree.Without(global, at)
			}
		}
	}
	for _, remote := range yamltree.Items(yamltree.Get(root, "remote_write")) {
		if q := yamltree.Get(remote, "queue_config"); yamltree.Index(q, "capacity") >= 0 {
			*q = *yamltree.Without(q, yamltree.Index(q, "capacity"))
		}
	}
}

func redactBelow(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			redactBelow(c, fmt.Sprintf("%s[%d]", path, i))
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			redactBelow(n.Content[i+1], yamltree.Join(path, n.Content[i].Value))
		}
	case yaml.ScalarNode:
		if n.Value == "" || n.Tag == "!!null" || n.Tag == "!!bool" {
			return
		}
		if isSecretPath(path) {
			n.Value, n.Tag, n.Style = redacted, "!!str", 0
			return
		}
		n.Value = redactURL(n.Value)
	}
}

// markNegotiated replaces a protobuf_message that was not written by a comment: printed, it would mean that only this
// message is sent.
func (c *Config) markNegotiated(root *yaml.Node) {
	for i, node := range yamltree.Items(yamltree.Get(root, "remote_write")) {
		at := yamltree.Index(node, "protobuf_message")
		if at < 0 || !c.RemoteWrite.Endpoints[i].Negotiate {
			continue
		}
		*node = *yamltree.Without(node, at)
		node.HeadComment = "protobuf_message is negotiated: io.prometheus.write.v2.Request, else " +
			"prometheus.WriteRequest"
	}
}
