// Package kubeconfig reads kubeconfigs as kubectl does, for people who choose a context. Its errors list the contexts.
package kubeconfig

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/common/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Config is a context of a kubeconfig. In a pod without a kubeconfig it is the pod's service account.
type Config struct {
	Namespace string       // of the context: where to look if no namespace is given
	REST      *rest.Config // address and credentials of the API server
	IsCurrent bool         // it is the current context

	all clientcmdapi.Config // with CurrentContext set to the context; the paths in it are absolute
}

// Read reads a kubeconfig. Without a file it takes $KUBECONFIG or ~/.kube/config, and in a pod its service account.
// Without a context it takes the current one.
func Read(file, context string) (*Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules,
		&clientcmd.ConfigOverrides{CurrentContext: context})
	all, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	isCurrent := context == "" || context == all.CurrentContext
	all.CurrentContext = cmp.Or(context, all.CurrentContext)
	switch name := all.CurrentContext; {
	case context != "" && len(all.Contexts) == 0:
		return nil, errors.New("there is no kubeconfig with contexts: give one with --kubeconfig or $KUBECONFIG")
	case name != "" && all.Contexts[name] == nil:
		return nil, fmt.Errorf("the kubeconfig has no context %q: choose one with --context%s", name, Contexts(all))
	}
	cfg, err := loader.ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err) && len(all.Contexts) > 0:
		return nil, fmt.Errorf("the kubeconfig has no current context: choose one with --context%s", Contexts(all))
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("there is no kubeconfig: give one with --kubeconfig or $KUBECONFIG")
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	cfg.UserAgent = "envoy-scraper/" + version.Version
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return &Config{Namespace: namespace, REST: cfg, IsCurrent: isCurrent, all: all}, nil
}

// Who says whose credentials these are, without showing any: user "alice" of context "prod".
func (c *Config) Who() string { return who(&c.all) }

// Who is Config.Who of the current context of a file; empty: the file cannot be read.
func Who(file string) string {
	all, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return ""
	}
	return who(all)
}

func who(all *clientcmdapi.Config) string {
	switch context := all.Contexts[all.CurrentContext]; {
	case context == nil:
		return "the service account of this pod"
	case context.AuthInfo == "":
		return fmt.Sprintf("no user, context %q", all.CurrentContext)
	default:
		return fmt.Sprintf("user %q of context %q", context.AuthInfo, all.CurrentContext)
	}
}

// Copy writes a kubeconfig with only this context into a folder, readable for its owner only, and returns its path.
// Prometheus' discovery knows no context but the current one of a file.
func (c *Config) Copy(dir string) (file string, err error) {
	one := c.all.DeepCopy()
	if err := clientcmdapi.MinifyConfig(one); err != nil {
		return "", fmt.Errorf("kubeconfig: %w", err)
	}
	file = filepath.Join(dir, "kubeconfig")
	return file, clientcmd.WriteToFile(*one, file)
}

// ContextsOf returns the contexts of a file in the form of Contexts.
func ContextsOf(file string) string {
	all, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return ""
	}
	return Contexts(*all)
}

// Contexts returns ": " and the names of the contexts of a kubeconfig, or "" if it has none.
func Contexts(all clientcmdapi.Config) string {
	if len(all.Contexts) == 0 {
		return ""
	}
	return ": " + strings.Join(slices.Sorted(maps.Keys(all.Contexts)), ", ")
}
