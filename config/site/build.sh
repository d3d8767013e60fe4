#!/usr/bin/env bash
# Makes the site of the pages in target/site, as GitHub Pages does, with Debian's Jekyll, and checks that every link in it leads to a
# file of it. Installs Jekyll and the plugins of _config.yml where apt-get is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

packages=(jekyll jekyll-theme-minima ruby-jekyll-default-layout)
for plugin in optional-front-matter readme-index relative-links titles-from-headings; do
  packages+=("ruby-jekyll-$plugin")
done
dpkg --status "${packages[@]}" >/dev/null 2>&1 || {
  echo "site: installing ${packages[*]}"
  { apt-get update && apt-get install --yes --no-install-recommends "${packages[@]}"; } >/dev/null 2>&1 ||
    { echo "site: ${packages[*]} (Debian's names) are missing and could not be installed" >&2; exit 1; }
}

# Pages adds this plugin and the time zone by itself.
overlay=$(mktemp --suffix=.yml)
trap 'rm -f "$overlay"' EXIT
sed -n '/^plugins:/,/^[^ p]/p' _config.yml | grep -E '^plugins|^  - ' >"$overlay"
echo "  - jekyll-default-layout" >>"$overlay"
jekyll build --quiet --disable-disk-cache --strict_front_matter --config "_config.yml,$overlay" --destination target/site

# Liquid says what it does not understand as a warning and leaves it out, which a page of shell and Go templates must not risk.
pages=0 broken=0
while read -r page; do
  pages=$((pages + 1))
  while read -r link; do
    case $link in
      '' | http*:* | mailto:*) continue ;;
      *.md | *.md#*) echo "site: $page links to $link, which the site shows as text" >&2; broken=$((broken + 1)); continue ;;
    esac
    path=${link%%#*}
    case $path in
      '') file=$page ;;
      /*) file=target/site$path ;;
      *) file=$(dirname "$page")/$path ;;
    esac
    [ -d "$file" ] && file=$file/index.html
    [ -e "$file" ] || file=$file.html
    anchor=${link#"$path"}
    if [ ! -e "$file" ] || { [ -n "$anchor" ] && ! grep -q "id=\"${anchor#\#}\"" "$file"; }; then
      echo "site: $page links to $link, which is not there" >&2
      broken=$((broken + 1))
    fi
  done < <(grep -o 'href="[^"]*"' "$page" | cut -d'"' -f2)
done < <(find target/site -name '*.html')
[ "$pages" -gt 10 ] || { echo "site: $pages pages are too few" >&2; exit 1; }
[ "$broken" = 0 ] || exit 1
echo "site: $pages pages in target/site; every link leads somewhere"
