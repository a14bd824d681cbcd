"""Takes a picture of every page of the dashboard into docs/images/.

python docs/screenshots.py runs                          # 1280 pixels wide, light and dark
python docs/screenshots.py runs --widths 1280 1920 --pages layers --query 'runs=clip1&runs=lamb'
"""

import argparse
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.browser.dashboard import ARGUMENTS, CHROMIUM, serve, settle

HERE = Path(__file__).parent
PAGES = ("runs", "layers", "clipping", "bounds", "compare", "sql")


def main() -> None:
    """Read the command line, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the folder of runs to show")
    parser.add_argument("--widths", type=int, nargs="+", default=[1280])
    parser.add_argument("--themes", nargs="+", default=["light", "dark"], choices=["light", "dark"])
    parser.add_argument("--pages", nargs="+", default=list(PAGES), choices=PAGES)
    parser.add_argument("--query", default="", help="what follows the ? in the address")
    parser.add_argument("--out", type=Path, default=HERE / "images")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with serve(options.runs) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for theme in options.themes:
            for width in options.widths:
                for name in options.pages:
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
                    path = "" if name == "runs" else name  # the first page has no path of its own
                    page.goto(f"{address}/{path}?{options.query}")
                    file = options.out / f"{name}-{width}-{theme}.png"
                    take(page, file)
                    page.close()
                    print(file)
        browser.close()


def take(page: Page, file: Path) -> None:
    """A picture of the whole page, once everything on it is drawn."""
    settle(page)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": page.viewport_size["width"], "height": max(640, min(height, 4000))})
    settle(page)
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")  # tables and buttons that come late
    page.wait_for_timeout(1200)  # the charts take on the new size
    page.screenshot(path=file)


if __name__ == "__main__":
    main()
