# shellcheck shell=bash disable=SC2016
#
# debian.sh: sources of Debian's packages, for tests that build a program of
# another project themselves: check-all and kubernetes/build source it.
#
#	debian_mirror					where this machine's packages come from
#	debian_source PACKAGE DIR		unpacks a source package, without patches
#
# Nothing of the machine is changed: neither its list of archives nor apt's
# own files.

debian_mirror()
{
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		'Label: Debian' | head -n 1
}

# The files of the upstream project lie in DIR afterwards, Debian's own in
# DIR/debian if the package has them in a tarball.
debian_source()
{
	local package=$1 dir=$2 suite apt

	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	rm -rf "$dir" "$dir.apt"
	mkdir -p "$dir" "$dir.apt/lists/partial" "$dir.apt/files"
	echo "deb-src $(debian_mirror) $suite main" >"$dir.apt/sources.list"
	apt=(apt-get -q -o Dir::Etc::sourcelist="$dir.apt/sources.list"
		-o Dir::Etc::sourceparts=- -o Dir::State::lists="$dir.apt/lists"
		-o Dir::Cache="$dir.apt" -o APT::Sandbox::User=root)
	"${apt[@]}" update || return
	(cd "$dir.apt/files" &&
		"${apt[@]}" source --download-only "$package") || return
	tar -C "$dir" --strip-components=1 -xf "$dir.apt/files/$package"_*.orig.tar.* ||
		return
	rm -rf "$dir.apt"
}
