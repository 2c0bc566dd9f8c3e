# Snakemake runs this once it has made the environment. ultralytics asks for opencv-python, which needs a display's
# libraries and writes over the headless build of the same module: the headless one is put back, as in requirements/.
set -e
version=$(python -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')
python -m pip uninstall --yes opencv-python
python -m pip install --force-reinstall --no-deps "opencv-python-headless==$version"
