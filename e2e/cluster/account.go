package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Token requests a token for a service account, valid for an hour.
func (c *Cluster) Token(ctx context.Context, namespace, account string) (string, error) {
	seconds := int64(3600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	got, err := c.admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token of %s/%s: %w", namespace, account, err)
	}
	return got.Status.Token, nil
}

// Client returns a client that authenticates with the token only.
func (c *Cluster) Client(token string) (*kubernetes.Clientset, error) {
	return kubernetes.NewForConfig(&rest.Config{
		Host:            c.URL(),
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.CAFile()},
	})
}

// AdminToken returns a bearer token with all rights.
func (c *Cluster) AdminToken() string { return c.adminKey }

// WriteKubeconfig writes a kubeconfig with only the server, its certificate and the token. It returns the file's path.
func (c *Cluster) WriteKubeconfig(name, token string) (string, error) {
	ca, err := os.ReadFile(c.CAFile())
	if err != nil {
		return "", err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["e2e"] = &clientcmdapi.Cluster{Server: c.URL(), CertificateAuthorityData: ca}
	cfg.AuthInfos["token"] = &clientcmdapi.AuthInfo{Token: token}
	cfg.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: "token"}
	cfg.CurrentContext = "e2e"
	path := filepath.Join(c.cfg.Dir, name)
	return path, clientcmd.WriteToFile(*cfg, path)
}
