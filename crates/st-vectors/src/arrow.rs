//! Conversions from and to Arrow, where vectors are `FixedSizeList<Float32>` columns.

use std::sync::Arc;

use arrow_array::{Array, FixedSizeListArray, Float32Array};
use arrow_schema::{DataType, Field};

use crate::{Embeddings, VectorError};

/// One list per vector, without a copy and without nulls.
///
/// # Errors
/// [`VectorError::Shape`] when the dimension, or the number of rows without values, is beyond what Arrow counts.
///
/// ```
/// use arrow_array::{Array, FixedSizeListArray};
/// use st_vectors::Embeddings;
/// let embeddings = Embeddings::from_rows([[1.0, 2.0], [3.0, 4.0]])?;
/// let array = FixedSizeListArray::try_from(embeddings.clone())?;
/// assert_eq!((array.len(), array.value_length()), (2, 2));
/// assert_eq!(Embeddings::try_from(&array)?, embeddings);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
impl TryFrom<Embeddings> for FixedSizeListArray {
    type Error = VectorError;

    fn try_from(embeddings: Embeddings) -> Result<Self, VectorError> {
        let (rows, dimension) = (embeddings.rows(), embeddings.dimension());
        let error = VectorError::Shape { length: embeddings.as_slice().len(), rows, dimension };
        let Ok(size) = i32::try_from(dimension) else { return Err(error) };
        let field = Arc::new(Field::new("item", DataType::Float32, false));
        let values = Arc::new(Float32Array::from(embeddings.into_vec()));
        Self::try_new_with_length(field, size, values, None, rows).map_err(|_| error)
    }
}

/// One vector per list, copied.
///
/// # Errors
/// [`VectorError::ValueType`] for values other than float32, [`VectorError::NullVectors`] where a list or a value is
/// null.
impl TryFrom<&FixedSizeListArray> for Embeddings {
    type Error = VectorError;

    fn try_from(array: &FixedSizeListArray) -> Result<Self, VectorError> {
        let Some(values) = array.values().as_any().downcast_ref::<Float32Array>() else {
            return Err(VectorError::ValueType { found: array.value_type().to_string() });
        };
        let missing = array.null_count() + values.null_count();
        if missing > 0 {
            return Err(VectorError::NullVectors { missing, rows: array.len() });
        }
        let dimension = usize::try_from(array.value_length()).unwrap_or_default();
        // The values of a slice are those of its lists, from the first one on.
        let values = values.values().get(..array.len() * dimension).unwrap_or_default();
        Self::new(values.to_vec(), array.len(), dimension)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Float32Type, Float64Type};

    use super::*;

    #[test]
    fn slices_and_empty_matrices() {
        let embeddings = Embeddings::from_rows([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]).unwrap();
        let array = FixedSizeListArray::try_from(embeddings).unwrap();
        let back = Embeddings::try_from(&array.slice(1, 1)).unwrap();
        assert_eq!(back, Embeddings::from(vec![3.0, 4.0]));
        for (rows, dimension) in [(0, 3), (2, 0), (0, 0)] {
            let empty = Embeddings::zeros(rows, dimension);
            let array = FixedSizeListArray::try_from(empty.clone()).unwrap();
            assert_eq!(Embeddings::try_from(&array).unwrap(), empty);
        }
    }

    #[test]
    fn nulls_and_other_types_are_refused() {
        let lists = [Some(vec![Some(1.0)]), None];
        let array = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists.clone(), 1);
        let error = Embeddings::try_from(&array).unwrap_err();
        assert!(matches!(error, VectorError::NullVectors { rows: 2, .. }), "{error}");
        let lists =
            lists.map(|list| list.map(|values| values.into_iter().map(|x| x.map(f64::from)).collect::<Vec<_>>()));
        let array = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(lists, 1);
        let error = Embeddings::try_from(&array).unwrap_err();
        assert_eq!(error.to_string(), "vectors are made of float32 values, not Float64");
    }
}
