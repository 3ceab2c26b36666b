package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/envoy-scraper/envoy-scraper/internal/kubeconfig"
)

const (
	// maxAnswerBytes limits an API server's answer. A list of one object's metadata is far smaller.
	maxAnswerBytes = 1 << 20
	// metadataOnly is the Accept header that asks for only the metadata of listed objects.
	metadataOnly = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
)

// apiClient asks an API server questions that discovery does not answer: is it reachable, may we list and watch, are
// there any objects?
type apiClient struct {
	host string // scheme, host and optional path, without credentials
	base *url.URL
	http *http.Client
}

// answer is the meaning of an API server's response.
type answer int

const (
	answerNone    answer = iota // no response, or one that no working API server gives
	answerBusy                  // 429: overloaded, or its watch cache is not ready
	answerUnknown               // 401: it does not accept our credentials
	answerDenied                // 403: a right is missing
	answerMissing               // 404: it does not know this kind of object
	answerOK
)

// restConfig returns the client configuration for probes and for podDiscovery. Its address and credentials are those
// that Prometheus uses for other roles.
func restConfig(c *kubernetes.SDConfig, name string, dial Dial) (*rest.Config, error) {
	var cfg *rest.Config
	var err error
	switch {
	case c.KubeConfig != "":
		cfg, err = clientcmd.BuildConfigFromFlags("", c.KubeConfig)
	case c.APIServer.URL != nil:
		cfg = &rest.Config{Host: c.APIServer.String()}
		var opts []commonconfig.HTTPClientOption
		if dial != nil {
			opts = append(opts, commonconfig.WithDialContextFunc(dial))
		}
		cfg.Transport, err = commonconfig.NewRoundTripperFromConfig(c.HTTPClientConfig, name, opts...)
	default:
		cfg, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		cfg.Dial = dial
	}
	cfg.UserAgent = version.PrometheusUserAgent()
	return cfg, nil
}

// RESTConfig returns the client configuration for the API server of a discovery, with the credentials that the
// discovery uses. It connects by dial; nil: by the network of the machine. The error says what to change.
func RESTConfig(c *kubernetes.SDConfig, dial Dial) (*rest.Config, error) {
	cfg, err := restConfig(c, "kubernetes_pod_proxy", dial)
	if err != nil {
		return nil, explainConfig(c, err)
	}
	return cfg, nil
}

// newAPIClient returns a client for the API server of a discovery.
func newAPIClient(c *kubernetes.SDConfig, dial Dial) (*apiClient, error) {
	cfg, err := restConfig(c, "kubernetes_sd_probe", dial)
	if err != nil {
		return nil, err
	}
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("address of the API server: %w", err)
	}
	return &apiClient{host: strings.TrimSuffix(base.Redacted(), "/"), base: base, http: hc}, nil
}

// alive asks for /version, the cheapest question. A server that is busy or refuses to tell its version is alive.
func (c *apiClient) alive(ctx context.Context) (answer, error) {
	a, _, err := c.get(ctx, "/version", nil)
	if a == answerBusy || a == answerDenied || a == answerMissing {
		return answerOK, nil
	}
	return a, err
}

// list asks whether we may list the objects of n, and returns whether there are none.
func (c *apiClient) list(ctx context.Context, n need) (answer, bool, error) {
	a, body, err := c.get(ctx, n.url(), n.listQuery())
	if a != answerOK {
		return a, false, err
	}
	var list struct {
		Items *[]json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return answerNone, false, errors.New("the answer is not that of a Kubernetes API server")
	}
	return answerOK, list.Items == nil || len(*list.Items) == 0, nil
}

// watch asks whether we may watch the objects of n, and closes the stream at once. A server that has just started
// answers 429 until its caches are ready, which does not mean that the right is missing.
func (c *apiClient) watch(ctx context.Context, n need) (answer, error) {
	a, _, err := c.get(ctx, n.url(), n.watchQuery())
	if a == answerBusy {
		return answerOK, nil
	}
	return a, err
}

// get sends one request. The error is nil only for answerOK.
func (c *apiClient) get(ctx context.Context, path string, query url.Values) (answer, []byte, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answerNone, nil, err
	}
	req.Header.Set("Accept", "application/json")
	if query.Has("limit") {
		req.Header.Set("Accept", metadataOnly)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL: the log line names the host
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer in time")
		}
		return answerNone, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if query.Has("watch") && resp.StatusCode == http.StatusOK {
		return answerOK, nil, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return answerNone, nil, fmt.Errorf("read the answer: %w", err)
	}
	a := classify(resp.StatusCode)
	if a != answerOK {
		err = fmt.Errorf("%s%s", resp.Status, statusMessage(body))
	}
	return a, body, err
}

// classify returns the meaning of an API server's status. It is the only place that interprets one.
func classify(status int) answer {
	switch {
	case status >= 200 && status < 300:
		return answerOK
	case status == http.StatusTooManyRequests:
		return answerBusy
	case status == http.StatusUnauthorized:
		return answerUnknown
	case status == http.StatusForbidden:
		return answerDenied
	case status == http.StatusNotFound:
		return answerMissing
	default:
		return answerNone
	}
}

// statusMessage returns ": " and the message of a Kubernetes Status object, or an empty string.
func statusMessage(body []byte) string {
	var status struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" || status.Message == "" {
		return ""
	}
	return ": " + status.Message
}

// explainConfig adds a fix to the error of a discovery that cannot be made.
func explainConfig(c promdiscovery.Config, err error) error {
	k, ok := c.(*kubernetes.SDConfig)
	switch {
	case !ok:
		return err
	case errors.Is(err, rest.ErrNotInCluster):
		return errors.New("not running in a pod (KUBERNETES_SERVICE_HOST is not set), so there is no service " +
			"account to use: set --kubeconfig, or kubeconfig_file or api_server in the job")
	case k.KubeConfig != "" && errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kubeconfig %s does not exist", k.KubeConfig)
	case k.KubeConfig != "" && clientcmd.IsContextNotFound(err):
		return fmt.Errorf("kubeconfig %s: %w: choose another with --context, or with kubectl config "+
			"use-context%s", k.KubeConfig, err, kubeconfig.ContextsOf(k.KubeConfig))
	case k.KubeConfig != "":
		return fmt.Errorf("kubeconfig %s: %w", k.KubeConfig, err)
	default:
		return err
	}
}
