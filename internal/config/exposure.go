package config

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// ExposureKind is a kind of insecure setting.
type ExposureKind string

// The kinds of Exposure.
const (
	NotVerified   ExposureKind = "insecure_skip_verify" // the certificate of the peer is not verified
	WorldReadable ExposureKind = "readable_secret_file" // every user of the machine can read a secret
	InTheClear    ExposureKind = "credentials_in_clear" // credentials are sent over plain HTTP
)

// Exposure is an insecure setting. It may be intended, so it is a warning in the log.
type Exposure struct {
	Kind  ExposureKind
	Where string // as `job "a": tls_config.insecure_skip_verify`
	File  string // for WorldReadable
}

// secretFiles are the keys that name a file with a secret.
var secretFiles = map[string]bool{
	"key_file": true, "password_file": true, "credentials_file": true, "bearer_token_file": true,
	"client_secret_file":          true,
	"client_certificate_key_file": true, "azure_ad_token_file": true, "files": true, // of http_headers
}

// Exposures returns the insecure settings of all jobs and endpoints, in their order. It reads the current modes of the
// files.
func (c *Config) Exposures() []Exposure {
	var w exposureWalk
	for _, j := range c.Jobs {
		w.owner = fmt.Sprintf("job %q", j.JobName)
		w.walk(reflect.ValueOf(j), "")
		w.findCleartext(j.Scheme, j.HTTPClientConfig)
	}
	for _, e := range c.RemoteWrite.Endpoints {
		w.owner = fmt.Sprintf("remote_write %q", cmp.Or(e.Name, redactURL(e.URL.String())))
		w.walk(reflect.ValueOf(e), "")
		w.findCleartext(e.URL.Scheme, e.HTTPClientConfig)
	}
	return w.found
}

// findCleartext reports credentials that are sent over plain HTTP. Relabeling may still change the scheme of a job.
func (w *exposureWalk) findCleartext(scheme string, cfg config_util.HTTPClientConfig) {
	if scheme != "http" {
		return
	}
	for key, set := range map[string]bool{
		"basic_auth": cfg.BasicAuth != nil, "authorization": cfg.Authorization != nil, "oauth2": cfg.OAuth2 != nil,
	} {
		if set {
			w.found = append(w.found, Exposure{InTheClear, w.owner + ": " + key, ""})
		}
	}
}

type exposureWalk struct {
	owner string
	found []Exposure
}

var tlsConfigType = reflect.TypeFor[config_util.TLSConfig]()

// walk searches a value and everything below it. path has the keys, without list indexes.
func (w *exposureWalk) walk(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return
		}
		if sd, ok := v.Interface().(discovery.Config); ok && v.Kind() == reflect.Interface {
			path = yamltree.Join(path, sd.Name()+"_sd_configs")
		}
		w.walk(v.Elem(), path)
	case reflect.Slice:
		for i := range v.Len() {
			w.walk(v.Index(i), path)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			w.walk(v.MapIndex(key), yamltree.Join(path, fmt.Sprint(key)))
		}
	case reflect.String:
		w.file(v.String(), path)
	case reflect.Struct:
		if v.Type() == tlsConfigType && v.FieldByName("InsecureSkipVerify").Bool() {
			w.found = append(w.found, Exposure{NotVerified, w.owner + ": " +
				yamltree.Join(path, "insecure_skip_verify"), ""})
		}
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.IsExported() || len(f.Index) > 1 { // a promoted field is visited through its embedded struct
				continue
			}
			name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			at := path
			if !strings.Contains(options, "inline") && name != "" && name != "-" {
				at = yamltree.Join(path, name)
			}
			w.walk(v.FieldByIndex(f.Index), at)
		}
	}
}

// file checks the mode of a secret's file.
func (w *exposureWalk) file(name, path string) {
	keys := strings.Split(path, ".")
	key := keys[len(keys)-1]
	if name == "" || !secretFiles[key] || key == "files" && !slices.Contains(keys, "http_headers") {
		return
	}
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o004 != 0 {
		w.found = append(w.found, Exposure{WorldReadable, w.owner + ": " + path, name})
	}
}
