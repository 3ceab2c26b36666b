package remotewrite

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
)

// settings are those of one endpoint. They are immutable; a reload replaces them whole.
type settings struct {
	EndpointConfig
	externalLabels labels.Labels
	flushDeadline  time.Duration
	ephemeral      bool
	packing        *pack.Settings
	delivery       *deliver.Settings
}

func newSettings(cfg Config, ec EndpointConfig) *settings {
	return &settings{
		EndpointConfig: ec, externalLabels: cfg.ExternalLabels, flushDeadline: cfg.FlushDeadline,
		ephemeral: cfg.Ephemeral,
		packing:   pack.NewSettings(ec.RemoteWriteConfig, cfg.ExternalLabels),
	}
}

// clientFunc makes the client of an endpoint. Tests have their own.
type clientFunc func(EndpointConfig) (deliver.Client, error)

// newClient is the clientFunc of Writers.
func (o Options) newClient(ec EndpointConfig) (deliver.Client, error) {
	s := ec.delivery(nil)
	s.Dial, s.Chance = o.Dial, o.Chance.Of(ec.label()).Of("addresses")
	return deliver.NewClient(s)
}

// withClient adds the client. Only this can fail.
func (s *settings) withClient(newClient clientFunc) error {
	client, err := newClient(s.EndpointConfig)
	if err != nil {
		return fmt.Errorf("remote_write %s: %w", s.label(), err)
	}
	d := s.EndpointConfig.delivery(client)
	s.delivery = &d
	return nil
}

func (c EndpointConfig) delivery(client deliver.Client) deliver.Settings {
	return deliver.Settings{RemoteWriteConfig: c.RemoteWriteConfig, Negotiate: c.Negotiate,
		SeriesPerSend: c.SeriesPerSend, Client: client}
}

// same reports whether o is the next version of s, so that o takes over the backlog.
func (s *settings) same(o *settings) bool {
	if s.Name != "" || o.Name != "" {
		return s.Name == o.Name
	}
	return s.identity() == o.identity()
}

// sameReceiver reports whether o sends to the receiver of s, and for the same tenant. Tenants differ in the URL, a
// header or the credentials.
func (s *settings) sameReceiver(o *settings) bool {
	return reflect.DeepEqual(s.URL, o.URL) && maps.Equal(s.Headers, o.Headers) && s.sameCredentials(o)
}

func (s *settings) sameCredentials(o *settings) bool {
	a, b := s.RemoteWriteConfig, o.RemoteWriteConfig
	return reflect.DeepEqual(a.HTTPClientConfig, b.HTTPClientConfig) &&
		reflect.DeepEqual(a.SigV4Config, b.SigV4Config) &&
		reflect.DeepEqual(a.AzureADConfig, b.AzureADConfig) &&
		reflect.DeepEqual(a.GoogleIAMConfig, b.GoogleIAMConfig)
}

// equal reports whether s and o say the same, secrets included. In doubt it returns false; then the endpoint only
// loses its idle connections.
func (s *settings) equal(o *settings) bool {
	if s.Negotiate != o.Negotiate || s.SeriesPerSend != o.SeriesPerSend ||
		s.flushDeadline != o.flushDeadline ||
		!labels.Equal(s.externalLabels, o.externalLabels) {
		return false
	}
	a, b := s.RemoteWriteConfig, o.RemoteWriteConfig
	// YAML hides secrets, so credentials are compared by themselves. Rules hold compiled expressions, which are
	// compared as YAML.
	return s.sameCredentials(o) && reflect.DeepEqual(a.URL, b.URL) && yamlEqual(a, b)
}

func yamlEqual(a, b any) bool {
	x, err := yaml.Marshal(a)
	if err != nil {
		return false
	}
	y, err := yaml.Marshal(b)
	return err == nil && string(x) == string(y)
}
